"""The relay's HTTP interface: thin handlers that translate between HTTP and the relay."""
