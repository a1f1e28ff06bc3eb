"""Numbered SQL files; `system.migrate` applies them."""
