"""The window with other settings and outages."""
