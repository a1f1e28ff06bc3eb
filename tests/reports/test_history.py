"""Histories are written whole line by whole line and read back as they were."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import msgspec
import pytest

from reports import history as h


def _examples() -> list[h.Record]:
    """One record of every kind."""
    floors = h.Floors(critical="abc234-7", standard=None)
    return [
        h.Run(
            t_ns=0,
            plan="p",
            seed=7,
            world="real",
            retention_ns=h.ByClass(critical=700, standard=100),
            critical_types=("task.assigned",),
            slack_ns=5,
            started_at="2026-01-31T08:00:00Z",
        ),
        h.Publish(t_ns=1, publisher="p1", id="e1", agent="a1", type="task.assigned"),
        h.Published(t_ns=2, publisher="p1", id="e1", outcome="acked", cursor="abc234-1", status=202),
        h.Connect(t_ns=3, agent="a1", conn="c1", cursor="earliest"),
        h.Connected(t_ns=4, agent="a1", conn="c1", status=200),
        h.Deliver(t_ns=5, agent="a1", conn="c1", cursor="abc234-1", id="e1", type="task.assigned", addressee="a1"),
        h.Bookmark(t_ns=6, agent="a1", conn="c1", cursor="abc234-9"),
        h.Gap(t_ns=7, agent="a1", conn="c1", cursor="abc234-1", floors=floors),
        h.Gone(t_ns=8, agent="a1", conn="c1", cursor="abc234-1", reason="expired", via="status", floors=floors),
        h.Disconnect(t_ns=9, agent="a1", conn="c1", why="reset"),
        h.Saved(t_ns=10, agent="a1", cursor="abc234-1"),
        h.Acked(t_ns=11, agent="a1", cursor="abc234-1"),
        h.Fault(t_ns=12, fault="f1", phase="effective", what="cut", target="relay-nats", proof={"refused": 3}),
        h.Phase(t_ns=13, name="healed"),
        h.Writer(t_ns=14, pending=0, watermark=9, head=9),
        h.Process(t_ns=15, name="relay", what="killed", pid=42),
    ]


def test_every_kind_reads_back_equal(tmp_path: Path) -> None:
    """What was written is read back equal, in order, one line a record, each line naming its kind."""
    path = tmp_path / "history.jsonl"
    with h.HistoryWriter(path) as writer:
        for record in _examples():
            writer.write(record)
    read = h.read_history(path)
    assert list(read.records) == _examples()
    assert read.torn is None
    kinds = [msgspec.json.decode(line)["kind"] for line in path.read_bytes().splitlines()]
    assert kinds == [type(record).__name__.lower() for record in _examples()]


@pytest.mark.parametrize("missing", [1, 2, 20, 60])
def test_a_torn_last_line_is_tolerated_and_reported(tmp_path: Path, missing: int) -> None:
    """Whatever part of the last line a crash left, the lines before it are read and the torn part is reported."""
    path = tmp_path / "history.jsonl"
    lines = [h.encode(record) for record in _examples()]
    path.write_bytes(b"".join(lines)[:-missing])
    read = h.read_history(path)
    if missing == 1:  # only the newline is missing: a whole JSON object is never the beginning of another one
        assert (list(read.records), read.torn) == (_examples(), None)
    else:
        assert missing < len(lines[-1])
        assert (list(read.records), read.torn) == (_examples()[:-1], lines[-1][:-missing])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"kind":"saved","t_ns":1,"agent":"a"', "truncated"),
        (b'{"kind":"saved","t_ns":1,"agent":"a"}', "missing required field `cursor`"),
        (b'{"kind":"saved","t_ns":1,"agent":"a","cursor":"c","curser":"d"}', "unknown field `curser`"),
        (b'{"kind":"guess","t_ns":1}', "'guess'"),
        (b"", "truncated"),
        (b'{"kind":"saved","t_ns":1,"agent":"\xff","cursor":"c"}', "utf-8"),
    ],
)
def test_any_other_malformed_line_is_refused_with_its_number(tmp_path: Path, line: bytes, expected: str) -> None:
    """A line that is not a record is refused, with its number, what was expected and what came."""
    path = tmp_path / "history.jsonl"
    good = h.encode(_examples()[0])
    path.write_bytes(good + line + b"\n" + good)
    with pytest.raises(h.HistoryInvalid) as caught:
        h.read_history(path)
    assert "history.jsonl:2: expected" in str(caught.value)
    assert expected in str(caught.value)
    assert "got" in str(caught.value)


def test_a_whole_but_wrong_last_line_without_newline_is_refused(tmp_path: Path) -> None:
    """Torn means cut off: a last line that is whole JSON and no record is not forgiven."""
    path = tmp_path / "history.jsonl"
    path.write_bytes(h.encode(_examples()[0]) + b'{"kind":"guess","t_ns":1}')
    with pytest.raises(h.HistoryInvalid, match=r":2: expected"):
        h.read_history(path)


def test_lines_are_bounded_when_written_and_when_read(tmp_path: Path) -> None:
    """A record longer than a line may be is refused before a byte is written, and such a line is not read."""
    path = tmp_path / "history.jsonl"
    with h.HistoryWriter(path) as writer, pytest.raises(h.HistoryLineTooLong, match="at most 65536"):
        writer.write(h.Disconnect(t_ns=1, agent="a", conn="c", why="x" * h.LINE_BYTES_MAX))
    assert path.read_bytes() == b""
    path.write_bytes(b"x" * (h.LINE_BYTES_MAX + 10))
    with pytest.raises(h.HistoryInvalid, match=":1: expected a line of at most 65536"):
        h.read_history(path)


def test_a_writer_refuses_to_go_on_after_a_torn_line(tmp_path: Path) -> None:
    """Appending after a torn line would lose a record with it, so a writer does not begin there."""
    path = tmp_path / "history.jsonl"
    path.write_bytes(h.encode(_examples()[0])[:-5])
    with pytest.raises(h.HistoryInvalid, match="torn line"):
        h.HistoryWriter(path)


def test_a_line_that_is_not_written_whole_is_an_error(tmp_path: Path) -> None:
    """When the file can't grow (a full disk), the writer says so instead of going on after a torn line."""
    path = tmp_path / "history.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with h.HistoryWriter(path) as writer, pytest.raises(h.HistoryWriteFailed, match="wrote 100; is the disk full"):
            writer.write(h.Disconnect(t_ns=1, agent="a", conn="c", why="x" * 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.stat().st_size == 100


def _append(path: str, name: str, count: int) -> None:
    with h.HistoryWriter(Path(path)) as writer:
        for number in range(count):
            writer.write(h.Disconnect(t_ns=number, agent=name, conn="c", why="x" * (number % 5000)))


def test_several_processes_append_to_one_file(tmp_path: Path) -> None:
    """Lines of processes that append at the same time are never mixed, and each process's keep their order."""
    path = tmp_path / "history.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(str(path), name, 2000)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    read = h.read_history(path)
    for name in ("a", "b"):
        times = [r.t_ns for r in read.records if isinstance(r, h.Disconnect) and r.agent == name]
        assert times == list(range(2000))


def _append_long_lines(path: str, until: Event) -> None:
    with h.HistoryWriter(Path(path)) as writer:
        while not until.is_set():
            writer.write(h.Disconnect(t_ns=1, agent="a", conn="c", why="x" * 60_000))


def test_half_a_line_of_a_living_writer_is_no_torn_one(tmp_path: Path) -> None:
    """A long line becomes visible page by page; whoever begins to append meanwhile must not take it for a torn one.

    A process that began while another wrote refused the history, once in a dozen runs of the test above.
    """
    path = tmp_path / "history.jsonl"
    context = multiprocessing.get_context("spawn")
    until = context.Event()
    worker = context.Process(target=_append_long_lines, args=(str(path), until))
    worker.start()
    try:
        while not path.exists() or not path.stat().st_size:
            worker.join(0.01)
        for _ in range(300):
            h.HistoryWriter(path).close()
    finally:
        until.set()
        worker.join(60)
    assert worker.exitcode == 0


def test_the_reader_streams(tmp_path: Path) -> None:
    """The reader gives the first record before it has read a later, malformed line."""
    path = tmp_path / "history.jsonl"
    path.write_bytes(h.encode(_examples()[0]) + b"no\n")
    records = iter(h.HistoryReader(path))
    assert next(records) == _examples()[0]
    with pytest.raises(h.HistoryInvalid, match=":2:"):
        next(records)
