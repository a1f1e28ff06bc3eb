"""Cursor stores: what was saved is loaded, what is torn is refused, and a crash leaves the old or the new."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from system.client.errors import StoreCorrupt
from system.client.store import CursorStore, FileCursorStore, MemoryCursorStore
from tests.system.client.scripted import cursor


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CursorStore:
    """Each kind of store, empty."""
    return MemoryCursorStore() if request.param == "memory" else FileCursorStore(tmp_path / "cursor")


async def test_what_was_saved_last_is_loaded(store: CursorStore) -> None:
    """Empty says None; then the last save counts, also a shorter one after a longer."""
    assert await store.load() is None
    for text in (cursor(123456), cursor(7)):
        await store.save(text)
        assert await store.load() == text


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"abc234-1042", b"abc234-10", b"abc234-1042\n\n", b"abc234-1042\r\n", b"\xff\xfe",
     b"abc234-7\nabc234-8\n", b"abc234-1\n" + b"\0" * 100, b"earliest\n"],
)  # fmt: skip
async def test_a_torn_or_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever is not exactly one cursor and a newline is an error that names the file, never 'start from scratch'."""
    path = tmp_path / "cursor"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"expected one cursor and a newline in .*cursor, got b"):
        await FileCursorStore(path).load()


async def test_every_proper_prefix_of_a_file_is_refused(tmp_path: Path) -> None:
    """A file cut short at any byte cannot pass for an older cursor."""
    store = FileCursorStore(tmp_path / "cursor")
    await store.save(cursor(1042))
    content = store.path.read_bytes()
    for length in range(len(content)):
        store.path.write_bytes(content[:length])
        with pytest.raises(StoreCorrupt):
            await store.load()


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
async def test_a_failure_in_mid_save_leaves_the_old_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Whichever step fails, the error passes, the old cursor stays, and the next save succeeds."""
    store = FileCursorStore(tmp_path / "cursor")
    await store.save(cursor(1))

    def fail(*_: object) -> int:
        raise OSError(28, "planted: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path if failing == "replace" else os, failing, fail)
        with pytest.raises(OSError, match="planted"):
            await store.save(cursor(2))
    assert await store.load() == cursor(1)
    await store.save(cursor(2))
    assert await store.load() == cursor(2)


async def test_a_short_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes only part of the cursor never replaces the file."""
    store = FileCursorStore(tmp_path / "cursor")
    await store.save(cursor(1))
    write: Callable[[int, bytes], int] = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:4]))
    with pytest.raises(OSError, match="expected to write 9 bytes"):
        await store.save(cursor(2))
    assert await store.load() == cursor(1)


async def test_the_order_of_the_save_survives_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is synced before it takes the name, and the folder after: no other order is safe."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    await FileCursorStore(tmp_path / "cursor").save(cursor(1))
    assert steps == ["fsync file", "rename", "fsync folder"]
