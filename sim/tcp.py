"""Simulated TCP: two byte streams a connection, with windows, loss, retransmission, FIN and RST, as Linux does them.

A `Flow` is one direction. What a cut loses stays in it and is sent again on TCP's own schedule; a flow that gets no
acknowledgement for long enough ends its connection with ETIMEDOUT. Nothing here knows of asyncio: `sim/transport.py` is
what a process sees.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from sim.environment import MS, Occurrence, S

if TYPE_CHECKING:
    from sim.host import Host
    from sim.network import LinkState

RETRY_MIN_NS = 200 * MS
"""Linux's shortest retransmission timeout; it doubles with each try."""
RETRY_MAX_NS = 120 * S
GIVE_UP_NS = 924 * S
"""Linux's default (tcp_retries2 = 15)."""


class Owner(Protocol):
    """Who holds an end: told when there is something to do; it must not block."""

    def readable(self) -> None:
        """Bytes or the end of the stream have arrived."""

    def writable(self) -> None:
        """The send buffer has room again."""

    def failed(self, error: OSError) -> None:
        """The connection was reset or has timed out."""


@dataclass(slots=True)
class _Segment:
    data: bytes
    is_fin: bool
    is_on_its_way: bool = False
    has_arrived: bool = False
    is_delivered: bool = False
    sent_ns: int = 0


class End:
    """One end of a connection, in its host's kernel."""

    def __init__(self, host: Host, address: tuple[str, int], book: dict[End, None]) -> None:
        """`book` is the list of its process's open ends; it stands there until it is closed."""
        self._book = book
        book[self] = None
        self.host = host
        self.address = address
        self.owner: Owner | None = None
        self.out: Flow
        self.peer: End | None = None
        self.unread: deque[bytes] = deque()
        self.unread_bytes = 0
        self.at_eof = False
        self.error: OSError | None = None
        self.is_closed = False
        """Its process has closed it, or has died."""
        self.is_accepted = True
        """Not while it waits in a listener's backlog: its kernel alone knows of it."""
        self.is_gone = False
        """Its host lost power: nobody knows of it any more, and nobody said so."""
        self.give_up_ns = GIVE_UP_NS

    @property
    def other(self) -> End:
        """The other end, once they are connected."""
        assert self.peer is not None
        return self.peer

    def room(self) -> int:
        """How many bytes the send buffer takes now."""
        left = self.host.network.buffer_bytes - self.out.queued_bytes
        return left if left > 0 else 0

    def read(self, bytes_max: int) -> bytes:
        """Take what has arrived; b"" if there is nothing, or at the end."""
        unread = self.unread
        is_one_piece = len(unread) == 1 and len(unread[0]) <= bytes_max  # as nearly always
        taken = unread.popleft() if is_one_piece else self._gathered(bytes_max)
        self.unread_bytes -= len(taken)
        self.other.out.pump()
        return taken

    def _gathered(self, bytes_max: int) -> bytes:
        taken = bytearray()
        while self.unread and len(taken) < bytes_max:
            piece = self.unread.popleft()
            over = len(taken) + len(piece) - bytes_max
            if over > 0:
                self.unread.appendleft(piece[-over:])
                piece = piece[:-over]
            taken += piece
        return bytes(taken)

    def close(self) -> None:
        """The process closes its descriptor: a FIN after what is buffered, or a reset if bytes are unread."""
        if self.is_closed:
            return
        self.is_closed = True
        self.owner = None
        self._book.pop(self, None)
        if self.peer is None:
            return
        if self.unread_bytes or not self.is_accepted:
            self.reset_peer()
        elif self.error is None:
            self.out.finish()

    def reset_peer(self) -> None:
        """Send a reset; nothing of this connection goes out after it."""
        self.out.abandon()
        link = self.host.network.link(self.host, self.other.host)
        if not link.is_cut and self.host.is_up:
            delay_ns = self.host.network.latency_ns(link)
            self.host.environment.at(delay_ns, self.other.reset_arrives)

    def reset_arrives(self) -> None:
        """The other side is gone and has said so."""
        if not self.is_gone and self.host.is_up and not self.host.network.link(self.other.host, self.host).is_cut:
            # Linux (tcp_reset): in CLOSE_WAIT a reset is a broken pipe
            broken, reset = BrokenPipeError(32, "Broken pipe"), ConnectionResetError(104, "Connection reset by peer")
            self.fail(broken if self.at_eof else reset)

    def fail(self, error: OSError) -> None:
        """End the connection on this side."""
        if self.error is not None or self.is_gone:
            return
        self.error = error
        self.out.abandon()
        if self.owner is not None:
            self.owner.failed(error)

    def take(self, segment: _Segment) -> None:
        """A segment arrives in order."""
        if segment.data:
            self.unread.append(segment.data)
            self.unread_bytes += len(segment.data)
        self.at_eof = self.at_eof or segment.is_fin
        if self.owner is not None:
            self.owner.readable()

    def vanish(self) -> None:
        """Power loss."""
        self.is_gone = self.is_closed = True
        self.owner = None
        self._book.pop(self, None)
        if self.peer is not None:
            self.out.abandon()


class Flow:
    """One direction of a connection."""

    def __init__(self, source: End, target: End) -> None:
        self.source = source
        self.target = target
        self._network = source.host.network
        self._route = source.host.name, target.host.name
        self._way_back = target.host.name, source.host.name
        self._environment = source.host.environment
        self._queue: deque[bytes] = deque()
        self.queued_bytes = 0
        self._sent: deque[_Segment] = deque()
        self._flying_bytes = 0
        self._fin_is_due = False
        self._is_finished = False
        self._is_over = False
        self._free_at_ns = 0
        self._last_arrival_ns = 0
        self._retry: Occurrence | None = None
        self._retry_ns = RETRY_MIN_NS
        self._silent_since_ns: int | None = None
        self._passed_bytes = 0
        self.is_silenced = False
        """Half-open: nothing passes any more, and nobody is told."""

    def send(self, data: bytes) -> None:
        """Queue bytes in the kernel; the caller has asked for `room`."""
        if not self._is_over:
            self._queue.append(data)
            self.queued_bytes += len(data)
            self.pump()

    def finish(self) -> None:
        """Send a FIN after everything queued."""
        if not self._is_finished:
            self._is_finished = self._fin_is_due = True
            self.pump()

    def abandon(self) -> None:
        """Send nothing any more, not even what was lost."""
        self._is_over = True
        self._queue.clear()
        self._sent.clear()
        self.queued_bytes = self._flying_bytes = 0
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def pump(self) -> None:
        """Send what the receiver's window allows."""
        queue = self._queue
        while (queue or self._fin_is_due) and not self._is_over and self._silent_since_ns is None:
            link = self._network.fares[self._route]
            if queue:
                window = self._network.buffer_bytes - self.target.unread_bytes - self._flying_bytes
                if window <= 0:
                    return
                segment = _Segment(self._cut_off(link, min(window, link.segment_bytes_max)), False)
            else:
                self._fin_is_due = False
                segment = _Segment(b"", True)
            self._sent.append(segment)
            self._flying_bytes += len(segment.data)
            self._put_on_the_wire(segment, link)

    def _cut_off(self, link: LinkState, bytes_max: int) -> bytes:
        piece = self._queue.popleft()
        length = min(len(piece), bytes_max)
        if length > 1 and link.split_share:
            rng = self._network.rng
            if rng.random() < link.split_share:
                length = rng.randint(1, length - 1)
        if length < len(piece):
            self._queue.appendleft(piece[length:])
            piece = piece[:length]
        return piece

    def _put_on_the_wire(self, segment: _Segment, link: LinkState) -> None:
        if link.resets:
            self._break()
            return
        if self.is_silenced or link.is_cut or not self.target.host.is_up:
            self._stall()
            return
        environment = self._environment
        segment.sent_ns = now_ns = environment.now_ns
        self._free_at_ns = max(now_ns, self._free_at_ns) + len(segment.data) * S // link.bytes_per_s
        late_ns = self._network.latency_ns(link) + (link.fin_delay_ns if segment.is_fin else 0)
        self._last_arrival_ns = arrival_ns = max(self._last_arrival_ns, self._free_at_ns + late_ns)
        segment.is_on_its_way = True
        environment.at(arrival_ns - now_ns, partial(self._arrive, segment))

    def _arrive(self, segment: _Segment) -> None:
        segment.is_on_its_way = False
        if self._is_over or segment.has_arrived:
            return
        link = self._network.fares[self._route]
        if self.is_silenced or link.is_cut or not self.target.host.is_up:
            self._stall()
            return
        segment.has_arrived = True
        self._passed_bytes += len(segment.data)
        self._network.on_segment(segment.sent_ns, *self._route, segment.data)
        self._deliver()
        if link.limit_bytes is not None and self._passed_bytes > link.limit_bytes:
            self._break()

    def _break(self) -> None:
        """Whatever stands between the two resets both."""
        error = ConnectionResetError(104, "Connection reset by peer")
        self.source.fail(error)
        self.target.fail(error)

    def _deliver(self) -> None:
        """Hand on what has arrived without a hole, and hear of it if the way back is open."""
        if self.target.is_closed or self.target.error is not None:
            if any(segment.data for segment in self._sent if segment.has_arrived) or self.target.is_gone:
                if not self.target.is_gone:
                    self.target.out.abandon()
                self._answer_with_reset()
            else:
                self._acknowledge()
            return
        for segment in tuple(self._sent):
            if not segment.has_arrived:
                break
            if not segment.is_delivered:
                segment.is_delivered = True
                self._flying_bytes -= len(segment.data)
                self.target.take(segment)
        self._acknowledge()

    def _answer_with_reset(self) -> None:
        """The other kernel knows of no such connection."""
        back = self._network.fares[self._way_back]
        if back.is_cut:
            self._stall()
        else:
            self._environment.at(self._network.latency_ns(back), self.source.reset_arrives)

    def _acknowledge(self) -> None:
        if self._network.fares[self._way_back].is_cut:
            self._stall()
            return
        heard = False
        while self._sent and self._sent[0].has_arrived:
            self.queued_bytes -= len(self._sent.popleft().data)
            heard = True
        if heard:
            self._silent_since_ns, self._retry_ns = None, RETRY_MIN_NS
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self.pump()
            if self.source.owner is not None:
                self.source.owner.writable()

    def _stall(self) -> None:
        """Something was lost: try again later, ever more rarely."""
        if self._is_over or self._retry is not None:
            return
        if self._silent_since_ns is None:
            self._silent_since_ns = self._environment.now_ns
        self._retry = self._environment.at(self._retry_ns, self._again)

    def _again(self) -> None:
        self._retry = None
        if self._is_over or self._silent_since_ns is None:
            return
        if self._environment.now_ns - self._silent_since_ns >= self.source.give_up_ns:
            self.source.fail(TimeoutError(110, "Connection timed out"))
            return
        self._retry_ns = min(self._retry_ns * 2, RETRY_MAX_NS)
        link = self._network.fares[self._route]
        if self.is_silenced or link.is_cut or not self.target.host.is_up:
            self._stall()
            return
        for segment in tuple(self._sent):
            if not segment.has_arrived and not segment.is_on_its_way:
                self._put_on_the_wire(segment, link)
        if self._sent and self._sent[0].has_arrived:
            self._deliver()
        elif not self._sent:
            self._silent_since_ns = None
            self.pump()


def connected(client: End, server: End) -> None:
    """Tie two ends together."""
    client.peer, server.peer = server, client
    client.out, server.out = Flow(client, server), Flow(server, client)
