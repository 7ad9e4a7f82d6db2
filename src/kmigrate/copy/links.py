"""The links of one pipeline to its two brokers: opened when needed, dropped together, tried again ever later.

Fetch and produce carry data; errand links carry the questions of standings and patrols. Markers and moves of log starts
have a link each: a broker reads nothing else from it until it has done them.
"""

from __future__ import annotations

import enum

from kmigrate.cluster.network import Link, Network
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Side

FIRST_BACK_OFF_SECONDS = 0.1
LAST_BACK_OFF_SECONDS = 5.0


class Purpose(enum.Enum):
    """What a link is for."""

    DATA = "data"
    ERRAND = "errand"
    MARKERS = "markers"
    TRIMS = "trims"


class BackOff:
    """Doubles from a tenth of a second to five seconds."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self.until = 0.0

    def failed(self, now: float) -> None:
        self._seconds = min(LAST_BACK_OFF_SECONDS, max(FIRST_BACK_OFF_SECONDS, self._seconds * 2))
        self.until = now + self._seconds

    def succeeded(self) -> None:
        self._seconds = 0.0
        self.until = 0.0


class Links:
    """Links by side and purpose, with what is known of each side: when to try again, what went wrong, its quota."""

    def __init__(self, network: Network, source: BrokerAddress, target: BrokerAddress) -> None:
        self._network = network
        self._addresses = {Side.SOURCE: source, Side.TARGET: target}
        self._links: dict[tuple[Side, Purpose], Link] = {}
        self.back_off = {side: BackOff() for side in Side}
        self.quota_until = dict.fromkeys(Side, 0.0)
        """Until when each side's broker reads nothing from the data link, because a quota was exceeded."""

    def get(self, side: Side, purpose: Purpose) -> Link:
        """The link, opened if there is none; raises Unreachable or ConnectionLost."""
        link = self._links.get((side, purpose))
        if link is None:
            link = self._links[side, purpose] = self._network.connect(side, self._addresses[side])
        return link

    def needs_time(self, side: Side, purpose: Purpose) -> bool:
        """Whether the link must be opened before a request, or its session renewed."""
        link = self._links.get((side, purpose))
        return link is None or link.wants_renewal

    def settle(self, side: Side, purpose: Purpose) -> None:
        """Opens the link or renews its session, if one of that is due; raises what `get` raises.

        It may take seconds: whoever may send only until some time looks at the clock afterwards.
        """
        if self.needs_time(side, purpose):
            link = self.get(side, purpose)
            if link.wants_renewal:
                link.renew()

    def known(self, side: Side, purpose: Purpose) -> Link | None:
        """The link, if it is open."""
        return self._links.get((side, purpose))

    def is_reachable(self, side: Side) -> bool:
        """Whether it is time to try this side."""
        return self._network.steady_seconds() >= self.back_off[side].until

    def move(self, side: Side, address: BrokerAddress) -> bool:
        """Takes a new address; returns whether it is another one."""
        moved = address != self._addresses[side]
        self._addresses[side] = address
        return moved

    def drop(self, side: Side) -> None:
        """Closes every link to this side; a new connection is read at once, whatever the quota."""
        for known in [known for known in self._links if known[0] is side]:
            self._links.pop(known).close()
        self.quota_until[side] = 0.0

    def close(self) -> None:
        for side in Side:
            self.drop(side)

    def next_change(self, now: float) -> float:
        """In how many seconds a back-off or a quota ends; infinity if none does."""
        ends = (*(each.until for each in self.back_off.values()), *self.quota_until.values())
        return min((until - now for until in ends if until > now), default=float("inf"))

    def garbled(self, side: Side, what: str) -> ClusterError:
        """The error for an answer that makes no sense, or never came."""
        return ClusterError(what, side=side, broker=str(self._addresses[side]))
