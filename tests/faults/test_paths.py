"""Paths of a command line are refused before anything is played, with what was expected, what came, what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from faults.paths import file_to_write, folder_to_write
from faults.up import LEFT, data_folder

Check = Callable[[Path | None], Path | None]
CHECKS: list[Check] = [file_to_write, folder_to_write, data_folder]


def refused(check: Check, path: Path) -> str:
    """What the check says of a path that it must not take."""
    with pytest.raises(typer.BadParameter) as caught:
        check(path)
    return caught.value.message


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_not_given_or_new_is_taken(check: Check, tmp_path: Path) -> None:
    """No path at all, and one whose folders are still to be made; nothing is made by asking."""
    assert check(None) is None
    assert check(tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b" / "c"
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_taken_for_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file to be written anew, a folder to be written into; a relative path is looked for from here."""
    (tmp_path / "file").write_text("")
    assert file_to_write(tmp_path / "file") == tmp_path / "file"
    assert folder_to_write(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert folder_to_write(Path("a/b")) == Path("a/b")
    assert file_to_write(Path("file")) == Path("file")


def test_a_file_and_a_folder_are_not_each_other(tmp_path: Path) -> None:
    """A folder where a file is asked for, a file where a folder is, or above either."""
    file = tmp_path / "file"
    file.write_text("")
    assert refused(file_to_write, tmp_path) == f"expected a file to write, got the folder {tmp_path}; name a file in it"
    assert refused(folder_to_write, file) == f"expected a folder, got the file {file}; give another name"
    for check in CHECKS:
        assert f"got {file / 'below'}, but {file} is a file; give another name" in refused(check, file / "below")


def test_permissions_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written: the place whose permissions are in the way is named. (Root may write anywhere.)"""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for check in CHECKS:
        assert refused(check, tmp_path / "a" / "b").endswith(f"/a/b; see the permissions of {tmp_path}")
    assert refused(folder_to_write, tmp_path).startswith("expected a folder that can be written into")
    assert refused(file_to_write, tmp_path / "file").startswith("expected a file that can be written, got")


def test_data_goes_into_no_foreign_folder(tmp_path: Path) -> None:
    """`up --data` takes an empty folder, what it left there itself, whole or in part, and nothing else."""
    assert data_folder(tmp_path) == tmp_path
    (tmp_path / "nats").mkdir()
    assert data_folder(tmp_path) == tmp_path
    (tmp_path / "notes.txt").write_text("")
    assert refused(data_folder, tmp_path) == (
        f"expected a new or empty folder, or one that an earlier `up --data` left, got {tmp_path} with 'notes.txt' in "
        "it; give another"
    )
    for name in LEFT - {"nats"}:
        (tmp_path / name).touch()
    assert data_folder(tmp_path) == tmp_path, "notes beside one's own data"
