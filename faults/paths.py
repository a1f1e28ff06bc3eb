"""Paths of a command line, checked before anything is played: nobody is to lose a run by a typing error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def file_to_write(path: Path | None) -> Path | None:
    """A file that can be written once its folder is made. Raises BadParameter, which ends the command."""
    if path is None:
        return None
    if path.is_dir():
        raise typer.BadParameter(f"expected a file to write, got the folder {path}; name a file in it")
    if path.exists():
        return _writable(path, path, "a file that can be written")
    return _writable(path, _nearest(path), "a file in a folder that can be written into")


def folder_to_write(path: Path | None) -> Path | None:
    """A folder that is there or can be made. Raises BadParameter, which ends the command."""
    if path is None:
        return None
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"expected a folder, got the file {path}; give another name")
    return _writable(path, _nearest(path), "a folder that can be written into")


PlanFile = Annotated[
    Path | None, typer.Option("--plan", exists=True, dir_okay=False, help="Play this plan file instead.")
]
PlanArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A plan file, as a campaign leaves it.")
]
NewFolder = Annotated[
    Path | None, typer.Option("--out", callback=folder_to_write, help="A new folder for histories and reports.")
]


def _nearest(path: Path) -> Path:
    """The part of a path that is there."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _writable(path: Path, there: Path, expected: str) -> Path:
    if not os.access(there, os.W_OK):
        raise typer.BadParameter(f"expected {expected}, got {path}; see the permissions of {there}")
    if not there.is_dir() and there != path:
        raise typer.BadParameter(f"expected {expected}, got {path}, but {there} is a file; give another name")
    return path
