"""The bench: its sums are right, both sides of a measurement have the same bytes, and every measurement runs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from faults.bench.fanout import shapes
from faults.bench.figures import Figure, Target, percentile
from faults.bench.load import Load, agent_name, frame_of, make_events, rounds, rows
from faults.bench.reader import Reader, ReadFailed
from faults.bench.suite import FULL, QUICK, Report, What
from faults.bench.table import render, shown
from system.cursor import seq_of
from system.event import read_event
from system.frames import bookmark_frame, chunk, retry_frame

QUICK_LIMIT_S = 400.0
"""It takes half a minute; a loaded CI machine several times that."""


def figure(*pairs: tuple[float, float], target: Target | None = None, more_is_better: bool = True) -> Figure:
    """A figure with these runs of the relay and of its baseline."""
    made = Figure(
        name="speed", unit="events/s", ours="relay", bare="bare", more_is_better=more_is_better, target=target
    )
    for ours, bare in pairs:
        made.add(ours=ours, bare=bare)
    return made


def test_the_ratio_is_the_median_of_the_runs_own_ratios() -> None:
    """A run in which the machine was slow for both sides counts as much as any other."""
    measured = figure((50, 100), (5, 20), (90, 100))
    assert (measured.ours_median, measured.bare_median) == (50, 100)
    assert measured.ratio == 0.5
    assert measured.ratio_range == (0.25, 0.9)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (None, None),
        (Target(ratio_min=0.5), True),
        (Target(ratio_min=0.51), False),
        (Target(ratio_max=0.5), True),
        (Target(ratio_max=0.49), False),
        (Target(ours_max=50), True),
        (Target(ours_max=49), False),
    ],
)
def test_a_target_is_met_at_its_bound(target: Target | None, met: bool | None) -> None:
    """A ratio counts as reached at its bound, and so does a value; without a target nothing is judged."""
    assert figure((50, 100), target=target).is_met is met


def test_a_run_without_a_measurement_is_refused() -> None:
    """Zero is a mistake of the bench, never a figure."""
    with pytest.raises(AssertionError):
        figure((0, 100))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values(values: list[float], percent: int) -> None:
    """At least that many of a hundred are no larger, and fewer are smaller than it."""
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < len(values) * percent / 100


def test_a_load_is_decided_by_its_seed() -> None:
    """The same load makes the same events wherever it is made; another seed makes other ids."""
    load = Load(events=50, agents=3)
    again = Load(**json.loads(json.dumps(load.document())))
    assert list(make_events(load)) == list(make_events(again))
    other = make_events(Load(events=50, agents=3, seed=2))
    assert not {event.id for event in make_events(load)} & {event.id for event in other}


@pytest.mark.parametrize("broadcast", [False, True])
def test_a_loads_events_are_valid(broadcast: bool) -> None:
    """The relay reads what the load says that it is; its rows name the same events."""
    events = list(make_events(Load(events=20, agents=3, broadcast=broadcast)))
    assert [read_event(event.text.encode(), bytes_max=10_000) for event in events] == events
    stored = rows(events, after_seq=7)
    assert [seq_of(row[0]) for row in stored] == list(range(8, 28))
    assert [row[3] for row in stored] == [event.id for event in events]
    assert {event.subject for event in events} == ({"_all"} if broadcast else {agent_name(n) for n in range(3)})


@given(
    st.builds(Load, events=st.integers(1, 30), agents=st.integers(1, 7), broadcast=st.booleans()), st.integers(1, 31)
)
def test_rounds_hold_every_event_once_in_order(load: Load, per_round: int) -> None:
    """What the baseline writes is each receiver's events, all of them, in order, as the relay's chunks."""
    received: dict[int | None, bytes] = {}
    for batch in rounds(load, per_round=per_round, after_seq=4):
        assert len({receiver for receiver, _ in batch}) == len(batch)
        for receiver, payload in batch:
            size, _, rest = payload.partition(b"\r\n")
            assert len(rest) == int(size, 16) + 2
            received[receiver] = received.get(receiver, b"") + rest[:-2]
    expected: dict[int | None, bytes] = {}
    for place, event in enumerate(make_events(load)):
        receiver = None if load.broadcast else place % load.agents
        expected[receiver] = expected.get(receiver, b"") + frame_of(event, 5 + place)
    assert received == expected


def test_each_shape_of_the_fan_out_delivers_the_same() -> None:
    """Broadcasts and addressed events come to as many deliveries for every agent."""
    made = shapes(agents=20, events_each=5)
    assert [(shape.frames_each, shape.deliveries) for shape in made] == [(5, 100), (5, 100)]


@dataclass
class Server:
    """A server of one connection: it reads a request, sends `greeting`, and when told to `go_on` its `pieces`."""

    address: tuple[str, int]
    greeting: bytes = chunk([bookmark_frame("a-0")])
    pieces: list[bytes] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def serve(self, listening: socket.socket) -> None:
        """Serve one connection to its end."""
        peer, _ = listening.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.recv(100)
            peer.sendall(self.greeting)
            self.go_on.wait()
            for piece in self.pieces:
                peer.sendall(piece)
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that the test must connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Server(listening.getsockname())
        thread = threading.Thread(target=made.serve, args=(listening,))
        thread.start()
        yield made
        made.go_on.set()
        thread.join()


def opened(server: Server, *, frames: int = 1) -> Reader:
    """A reader connected to the server, with its greeting read."""
    reader = Reader()
    reader.do({"do": "open", "address": server.address, "requests": ["x"], "frames": frames, "timeout_s": 10})
    return reader


@pytest.mark.parametrize("step", [1, 2, 7, 50, 10_000])
def test_the_reader_counts_frames_however_they_are_cut(server: Server, step: int) -> None:
    """Every frame counts once, wherever the network cuts the stream; the last write is read to its end."""
    events = list(make_events(Load(events=9, agents=1, data_bytes=20)))
    stream = b"".join(chunk([frame_of(event, place)]) for place, event in enumerate(events))
    server.greeting = b"HTTP/1.1 200 OK\r\n\r\n" + chunk([retry_frame(5), bookmark_frame("a-1")])
    server.pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    reader = opened(server)
    server.go_on.set()
    read = reader.do({"do": "read", "frames": 9, "timeout_s": 10})
    assert (read["frames"], read["bytes"]) == (9, len(stream))
    assert reader.do({"do": "close"}) == {"closed": 1}


def test_the_reader_tells_a_stream_that_ends_early(server: Server) -> None:
    """A closed connection is an error, not an endless wait nor a short count."""
    server.go_on.set()
    with pytest.raises(ReadFailed, match="closed by its server"):
        opened(server, frames=2)


def test_the_reader_tells_what_is_late(server: Server) -> None:
    """What does not come within the time is an error that says how much did."""
    with pytest.raises(ReadFailed, match="expected 5 frames within 0 s; 0 came"):
        opened(server).do({"do": "read", "frames": 5, "timeout_s": 0})


@pytest.mark.parametrize("step", [1, 3, 40, 10_000])
def test_the_reader_tells_how_long_ago_events_were_sent(server: Server, step: int) -> None:
    """Each event's own clock reading is found once, also where the network cuts through its digits."""
    frames = [b'id: a-%d\nevent: t\ndata: {"data":{"sent_ns":%d}}\n\n' % (n, 10**12 * n) for n in range(1, 6)]
    stream = b"".join(chunk([frame]) for frame in frames)
    server.pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    reader = opened(server)
    server.go_on.set()
    read = reader.do({"do": "read", "frames": 5, "of_all": True, "delays": True, "timeout_s": 10})
    now_ns = time.monotonic_ns()
    sent_s = [round((now_ns - delay) / 1e12) for delay in read["delays_ns"]]
    assert sent_s == [1, 2, 3, 4, 5]


def test_a_child_ends_with_its_pipe() -> None:
    """Whoever starts a reader leaves nothing behind, even without a word."""
    done = subprocess.run([sys.executable, "-m", "faults.bench.reader"], input=b"", capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_quick_and_full_measure_the_same() -> None:
    """Whatever is judged in full can be tried in short."""
    assert set(FULL) == set(QUICK) == set(What) - {What.ALL, What.SIM, What.JUDGE}


def test_the_table_shows_both_sides_and_the_verdict() -> None:
    """A reader sees medians, the ratio with its range, the target and whether it was met, and what was compared."""
    report = Report(
        figures=[figure((50, 100), target=Target(ratio_min=0.4)), figure((5_000, 100), target=Target(ours_max=30))],
        runs=1,
        is_quick=False,
        machine={"cores": 2},
        versions={"postgres": "18"},
    )
    output = StringIO()
    Console(file=output, width=140).print(render(report))
    text = output.getvalue()
    for part in ("0.50-0.50", "5,000", "≥ 0.4 met", "≤ 30 missed", "bare: bare", "cores 2, postgres 18"):
        assert part in text


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (99.94, "99.9"), (0.01234, "0.0123")])
def test_numbers_have_the_digits_that_they_deserve(value: float, text: str) -> None:
    """Large ones none after the point, small ones three in all."""
    assert shown(value) == text


@pytest.mark.stack
def test_a_quick_bench_measures_everything_on_the_real_stack() -> None:
    """Every measurement runs from the command line to its JSON; both sides have a figure and nothing is judged."""
    argv = [sys.executable, "-m", "meshrelay", "bench", "all", "--quick", "--runs", "1", "--json"]
    done = subprocess.run(argv, capture_output=True, timeout=QUICK_LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr.decode()
    document = json.loads(done.stdout)
    assert (document["runs"], document["quick"]) == (1, True)
    assert len(document["figures"]) == 10
    for one in document["figures"]:
        assert len(one["ours"]["runs"]) == len(one["bare"]["runs"]) == 1
        assert one["ours"]["median"] > 0
        assert one["bare"]["median"] > 0
        assert one["ratio"] == pytest.approx(one["ours"]["median"] / one["bare"]["median"], rel=1e-3)
        assert (one["target"], one["met"]) == (None, None)
