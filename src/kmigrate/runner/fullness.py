"""The target's disks are looked at while it is copied: below a share of free room everything pauses.

It goes on by itself when there is clearly more room again. A broker that does not tell its room holds nothing up: one
before 3.3, or without the right DESCRIBE on the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import BrokerId
from kmigrate.preflight.gauges import read_disks
from kmigrate.preflight.room import FREE_AGAIN_ABOVE, Disks, decide_full, show_bytes
from kmigrate.runner.errand import Errand

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
TARGET_FULL = "TARGET_FULL"


class DiskWatch:
    """Knows whether the target is full; used by one thread."""

    def __init__(self, target: ClusterClient, *, left_free: float) -> None:
        """`target`: a client of its own; `left_free`: the share of each broker's disks that is left free."""
        self.reason = ""
        """Why nothing is written; empty while there is room."""
        self._target = target
        self._left_free = left_free
        self._under_way: Errand[dict[BrokerId, Disks]] | None = None
        self._next_look = 0.0

    def step(self, brokers: Collection[BrokerId], now: float) -> bool:
        """Looks when it is time, and takes what was seen; returns whether it became full, or has room again."""
        changed = False
        if self._under_way is not None and self._under_way.done:
            errand, self._under_way = self._under_way, None
            changed = self.adopt(errand.result())
        if self._under_way is None and now >= self._next_look:
            self._next_look = now + EVERY_SECONDS
            asked = sorted(brokers)
            self._under_way = Errand(lambda: read_disks(self._target, asked), "disks")
        return changed

    def adopt(self, disks: Mapping[BrokerId, Disks]) -> bool:
        """Takes an answer; what no broker told leaves things as they are."""
        if not disks:
            return False
        shares = {broker: each.free_share for broker, each in disks.items()}
        broker = decide_full(bool(self.reason), shares, left_free=self._left_free)
        was_full, self.reason = bool(self.reason), ""
        if broker is not None:
            self.reason = (
                f"{TARGET_FULL}: broker {broker} of the target has {shares[broker]:.1%} of its disks free"
                f" ({show_bytes(disks[broker].usable_bytes)}); below {self._left_free:.0%} nothing is written, and from"
                f" {self._left_free + FREE_AGAIN_ABOVE:.0%} on it goes on by itself"
            )
        if was_full == bool(self.reason):
            return False
        log.warning("%s", self.reason or f"{TARGET_FULL} is over: there is room on the target's disks again")
        return True
