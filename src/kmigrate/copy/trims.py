"""Moves log starts on the target for many partitions at once: one request at a time, on a link of its own.

The answer comes when every replica in sync has moved, which may take as long as a follower's next fetch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.cluster.network import Link
from kmigrate.copy.copier import Copier
from kmigrate.kafka_types import TopicPartition
from kmigrate.wire.call import Call
from kmigrate.wire.gap_calls import LogStarts, delete_records


class _UnderWay(NamedTuple):
    copiers: dict[TopicPartition, Copier]
    call: Call[LogStarts]
    sent_at: float


class TrimErrand:
    """What is under way, if anything. Nothing has to be waited for when it is lost: it is asked again."""

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._under_way: _UnderWay | None = None

    @property
    def sent_at(self) -> float | None:
        """Since when an answer is waited for; None if none is."""
        return None if self._under_way is None else self._under_way.sent_at

    def holds(self, copier: Copier) -> bool:
        """Whether this copier's log start is on its way."""
        return self._under_way is not None and self._under_way.copiers.get(copier.partition) is copier

    def send(self, link: Link, copiers: Iterable[Copier], now: float) -> None:
        """Asks for the log start that each of these copiers wants."""
        asked = {copier.partition: copier for copier in copiers}
        call = delete_records({tp: copier.take_trim() for tp, copier in asked.items()}, self._timeout_ms)
        self._under_way = _UnderWay(asked, call, now)
        link.ask(call)

    def receive(self, link: Link, now: float) -> list[Copier]:
        """Waits for the answer and tells the copiers; returns them."""
        assert self._under_way is not None, "an answer is read only while a request is under way"
        copiers, call, _ = self._under_way
        answers = link.answer(call)
        self._under_way = None
        for tp, copier in copiers.items():
            copier.on_trimmed(answers.get(tp), now)
        return list(copiers.values())

    def lost(self) -> None:
        """The link is gone."""
        self._under_way = None
