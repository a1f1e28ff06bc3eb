"""The options' comparison: evidence, parts and the command."""
