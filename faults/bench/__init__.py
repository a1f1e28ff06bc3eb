"""`meshrelay bench`: the relay's speed and memory, each beside a bare baseline that is measured in turns with it."""
