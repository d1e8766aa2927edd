"""The segment, frame by frame: announce, probe, ask neighbours, and notice who else claims our addresses.

Role: one AF_PACKET socket per link and protocol; sends what `core/address/frames.py` encodes, emits `ForeignClaim` and
`NeighbourAnswered`.
Must never: send after an order's deadline, ask from a shared address, take this node for a stranger, or be drowned by
a flood of frames.
Counterparts: `core/address/frames.py` (bytes), `bpf.py` (what wakes us), `questions.py` (what was asked for), the event
loop through `add_reader`.

Answer or claim? A frame to this link's MAC that answers the very address from which we asked, for what we asked for
within 2 s, is an answer. From the MAC that was asked, or after a question to everybody, it is no claim beside: its
sender spoke because we asked. A candidate that asks the owner for its VIP has the answer in its queue when the owner's
word comes, and a claim by a node of the cluster after a word forbids taking by it. Everything else stays a claim, for a
VIP: what is announced to all, what answers a probe (that names nobody who asked), what was not asked for, and what
another MAC than the one that was asked has answered; the last is both.

A link that is down or gone is weather: what can't be sent is counted, and the core hears of the link from netlink.
Frames sent here pass by nftables; the fence for them is the deadman alone.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from sharedip.adapters.kernel import bpf
from sharedip.adapters.kernel.deadman import Deadman, TooLateError
from sharedip.adapters.kernel.facts import Clock, Emit
from sharedip.adapters.kernel.questions import Questions
from sharedip.core.address import frames
from sharedip.core.address.frames import ETHERTYPE_ARP, ETHERTYPE_IPV6, Claim
from sharedip.core.messages import (
    Announce,
    AnnounceOnceHeld,
    AskNeighbour,
    ForeignClaim,
    NeighbourAnswered,
    Probe,
    SegmentCommand,
)
from sharedip.core.model import Instant, IPAddress, LinkState, Vip

_SO_ATTACH_FILTER: Final = 26
_FRAMES_PER_WAKE_MAX: Final = 64
_REST_S: Final = 0.02
"""After so many frames at once, from one socket, its others wait for so long, or are dropped by the kernel, whose own
rules go on hearing claims: no more than 3,200 a second cost the agent anything."""
_FRAME_MAX: Final = 2048
_RECEIVE_BUFFER: Final = 1 << 18
_REPEAT_S: Final = 0.2
"""The same stranger with the same address is news at most this often."""
_STRANGERS_MAX: Final = 256
_BURST: Final = 128
"""Announcements that may leave at once: what a loop that was busy for 60 ms has to catch up with."""
_PACE_PER_S: Final = 2000.0
"""Beyond those: a thousand addresses are announced within half a second, at 2 Mbit/s. Switches and hosts that handle
ARP in software drop what comes faster, and with it what the announcement is for."""
_PACE_STEP_S: Final = 0.01
_WEATHER: Final = (errno.ENETDOWN, errno.ENXIO, errno.ENODEV, errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM)
_MAC_SIZE: Final = 6
_ANSWERS_ALONE: Final = {ETHERTYPE_ARP: bpf.arp_claims([]), ETHERTYPE_IPV6: bpf.neighbour_claims([])}
_LINK_ADDRESS = struct.Struct("=HHiHBB8s")  # struct sockaddr_ll


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class Segment:
    """Invariant: a socket exists for every watched link and every protocol in which it has addresses or somebody was
    asked for, and no other.
    """

    def __init__(
        self,
        emit: Emit,
        clock: Clock,
        deadman: Deadman,
        *,
        add_reader: Callable[[int, Callable[[], None]], object],
        remove_reader: Callable[[int], object],
        is_own_mac: Callable[[bytes], bool],
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        """Without `call_later` (of the event loop) announcements are not paced."""
        self.sent = 0
        self.unsent = 0
        """Frames that could not leave: link down or gone, deadline passed."""
        self.suppressed = 0
        """Claims that repeated a recent one."""
        self._emit = emit
        self._clock = clock
        self._deadman = deadman
        self._add_reader = add_reader
        self._remove_reader = remove_reader
        self._is_own_mac = is_own_mac
        self._watched: dict[int, _Watched] = {}
        self._heard: OrderedDict[tuple[Vip, bytes], Instant] = OrderedDict()
        """Who claimed what, in the order of time."""
        self._call_later = call_later
        self._waiting: dict[Vip, Announce | AnnounceOnceHeld] = {}
        self._will_drain = False
        self._allowance = float(_BURST)
        self._counted_at: Instant = clock()

    def close(self) -> None:
        """Forget every link, and what still waits to be announced."""
        self._waiting.clear()
        for index in list(self._watched):
            self.forget_link(index)

    def watch_link(self, link: LinkState, vips: Iterable[Vip]) -> None:
        """Send and listen on this link for these addresses; again whenever the link or the addresses change."""
        if len(link.mac) != _MAC_SIZE:
            self.forget_link(link.index)
            return
        watched = self._watched.get(link.index)
        if watched is None:
            watched = self._watched[link.index] = _Watched(link)
        watched.link = link
        watched.vips = {vip.address: vip for vip in vips}
        ipv4 = [one for one in watched.vips if isinstance(one, IPv4Address)]
        ipv6 = [one for one in watched.vips if isinstance(one, IPv6Address)]
        asked = watched.asked if watched.vips else frozenset()
        self._listen(watched, ETHERTYPE_ARP, bpf.arp_claims(ipv4) if ipv4 or ETHERTYPE_ARP in asked else None)
        self._listen(watched, ETHERTYPE_IPV6, bpf.neighbour_claims(ipv6) if ipv6 or ETHERTYPE_IPV6 in asked else None)
        if not watched.sockets:
            del self._watched[link.index]

    def forget_link(self, index: int) -> None:
        """The link vanished, or carries no address any more."""
        watched = self._watched.pop(index, None)
        if watched is not None:
            for ethertype in list(watched.sockets):
                self._close_socket(watched, ethertype)

    def look(self) -> None:
        """Read what has come by now, for a process that was stopped, before anything is sent."""
        for watched in list(self._watched.values()):
            for channel in list(watched.sockets.values()):
                self._receive(watched, channel)

    def perform(self, order: SegmentCommand) -> None:
        """Send the frames of one order, now or in its turn; nothing answers it, a loss shows in `unsent`."""
        if isinstance(order, AskNeighbour):
            self._ask(order)
            return
        if isinstance(order, Probe) or self._call_later is None:
            self._perform(order)
            return
        self._waiting[order.vip] = order
        if not self._will_drain or self._clock() - self._counted_at >= _PACE_STEP_S:
            self._drain()

    def withhold(self, vip: Vip) -> None:
        """The address is about to leave this node: what waits to be announced of it must never be sent."""
        self._waiting.pop(vip, None)

    def _drain(self) -> None:
        """Send as many of the waiting announcements as the pace allows, the oldest first; then come again."""
        now = self._clock()
        self._allowance = min(float(_BURST), self._allowance + (now - self._counted_at) * _PACE_PER_S)
        self._counted_at = now
        while self._waiting and self._allowance >= 1.0:
            self._allowance -= 1.0
            self._perform(self._waiting.pop(next(iter(self._waiting))))
        if self._waiting and not self._will_drain and self._call_later is not None:
            self._will_drain = True
            self._call_later(_PACE_STEP_S, self._drain_in_turn)

    def _drain_in_turn(self) -> None:
        self._will_drain = False
        self._drain()

    def _ask(self, order: AskNeighbour) -> None:
        watched = self._watched.get(order.index)
        is_shared = any(order.source in one.vips for one in self._watched.values())
        if watched is None or is_shared or (order.to is not None and len(order.to) != _MAC_SIZE):
            self.unsent += 1
            return
        ethertype = ETHERTYPE_ARP if isinstance(order.target, IPv4Address) else ETHERTYPE_IPV6
        if ethertype not in watched.sockets:
            watched.asked.add(ethertype)
            self._listen(watched, ethertype, _ANSWERS_ALONE[ethertype])
        channel = watched.sockets.get(ethertype)
        frame = frames.question(watched.link.mac, order.source, order.target, order.to)
        if channel is None or frame is None:
            self.unsent += 1
            return
        watched.questions.note(order.source, order.target, order.to, self._clock())
        self._send(channel, [frame])

    def _perform(self, order: Announce | AnnounceOnceHeld | Probe) -> None:
        address = order.vip.address
        watched = next((one for one in self._watched.values() if order.vip.link in one.link.names), None)
        ethertype = ETHERTYPE_ARP if isinstance(address, IPv4Address) else ETHERTYPE_IPV6
        channel = watched.sockets.get(ethertype) if watched is not None else None
        if watched is None or channel is None:
            self.unsent += 1
            return
        if isinstance(order, Probe):
            # A stranger's answer is news even if it was heard a moment ago.
            for heard in [heard for heard in self._heard if heard[0].address == address]:
                del self._heard[heard]
            self._send(channel, [frames.probe(watched.link.mac, address)])
            return
        try:
            prepared = (*frames.announcements(watched.link.mac, address), *frames.for_rules(watched.link.mac, address))
            with self._deadman.guard(order.not_after):
                self._send(channel, prepared)
        except TooLateError:
            self.unsent += 1
            return
        if isinstance(order, Announce):
            self._send(channel, [frames.probe(watched.link.mac, address)])

    def _send(self, channel: socket.socket, prepared: Iterable[bytes]) -> None:
        for frame in prepared:
            try:
                channel.send(frame)
                self.sent += 1
            except OSError as error:
                if error.errno not in _WEATHER:
                    raise
                self.unsent += 1

    def _listen(self, watched: _Watched, ethertype: int, program: bytes | None) -> None:
        if program is None:
            if ethertype in watched.sockets:
                self._close_socket(watched, ethertype)
            return
        if ethertype in watched.sockets:
            _attach(watched.sockets[ethertype], program)
            return
        opened = _open(watched.link.index, ethertype, program)
        if opened is not None:
            watched.sockets[ethertype] = opened
            self._add_reader(opened.fileno(), partial(self._receive, watched, opened))

    def _close_socket(self, watched: _Watched, ethertype: int) -> None:
        closing = watched.sockets.pop(ethertype)
        if closing not in watched.resting:
            self._remove_reader(closing.fileno())
        closing.close()

    def _receive(self, watched: _Watched, channel: socket.socket) -> None:
        """A bounded number of frames; the loop calls again while there are more, a little later."""
        for _ in range(_FRAMES_PER_WAKE_MAX):
            try:
                frame, (_, _, packet_type, _, _) = channel.recvfrom(_FRAME_MAX)
            except OSError as error:
                if error.errno not in _WEATHER:
                    raise
                return
            if packet_type != socket.PACKET_OUTGOING:
                self._judge(watched, frame, is_for_us=packet_type == socket.PACKET_HOST)
        self._let_rest(watched, channel)

    def _let_rest(self, watched: _Watched, channel: socket.socket) -> None:
        """There may be more, and more: a flood would take the whole loop."""
        if self._call_later is None or channel in watched.resting:
            return
        watched.resting.add(channel)
        self._remove_reader(channel.fileno())
        self._call_later(_REST_S, partial(self._go_on, watched, channel))

    def _go_on(self, watched: _Watched, channel: socket.socket) -> None:
        watched.resting.discard(channel)
        if channel in watched.sockets.values():  # not closed meanwhile
            self._add_reader(channel.fileno(), partial(self._receive, watched, channel))

    def _judge(self, watched: _Watched, frame: bytes, *, is_for_us: bool) -> None:
        claim = frames.decode(frame)
        if claim is None or claim.mac == watched.link.mac or self._is_own_mac(claim.mac):
            return
        now = self._clock()
        heard = watched.questions.hear(claim, now) if is_for_us else None
        if heard is not None and heard.is_news:
            self._emit(NeighbourAnswered(watched.link.index, claim.address, claim.mac, now))
        vip = watched.vips.get(claim.address)
        if vip is not None and (heard is None or not heard.was_asked):
            self._judge_claim(vip, claim, now)

    def _judge_claim(self, vip: Vip, claim: Claim, now: Instant) -> None:
        known = self._heard.get((vip, claim.mac))
        if known is not None and now - known < _REPEAT_S:
            self.suppressed += 1
            return
        while len(self._heard) >= _STRANGERS_MAX:
            # A flood of invented MACs: what is forgotten here may be told once more, no harm.
            if now - next(iter(self._heard.values())) < _REPEAT_S:
                self.suppressed += 1
                return
            self._heard.popitem(last=False)
        self._heard[vip, claim.mac] = now
        self._heard.move_to_end((vip, claim.mac))
        self._emit(ForeignClaim(vip, claim.mac, now))


class _Watched:
    def __init__(self, link: LinkState) -> None:
        self.link = link
        self.vips: dict[IPAddress, Vip] = {}
        self.sockets: dict[int, socket.socket] = {}
        self.resting: set[socket.socket] = set()
        """Those of which a flood was read a moment ago."""
        self.asked: set[int] = set()
        """The protocols in which the link had no address when somebody was asked for."""
        self.questions = Questions()


def _open(index: int, ethertype: int, program: bytes) -> socket.socket | None:
    """A socket for one protocol of one link; None when the link has vanished.

    Protocol 0 receives nothing until the filter is in place and `bind` names the protocol. Being for one protocol, it
    sees no frame that this node sends (dev_queue_xmit_nit hands those only to sockets for all protocols).
    """
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    made = socket.socket(socket.AF_PACKET, flags, 0)
    try:
        _attach(made, program)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        _bind(made, index, ethertype)
    except OSError as error:
        made.close()
        if error.errno not in _WEATHER:
            raise
        return None
    return made


def _bind(made: socket.socket, index: int, ethertype: int) -> None:
    # By index: Python's own bind takes a name, which may belong to another link by now.
    address = _LINK_ADDRESS.pack(socket.AF_PACKET, socket.htons(ethertype), index, 0, 0, 0, b"")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(made.fileno(), address, len(address)):
        raise OSError(ctypes.get_errno(), "bind to the link")


def _attach(made: socket.socket, program: bytes) -> None:
    buffer = _FilterProgram(len(program) // 8, program)
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(buffer))
