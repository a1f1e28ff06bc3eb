"""A stack that others started: read from a stack file, steered by its commands, and left as it was found."""
