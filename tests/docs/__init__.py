"""What people read is held to what there is: examples are run, links lead somewhere, commands exist."""
