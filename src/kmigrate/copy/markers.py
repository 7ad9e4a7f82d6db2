"""Fills gaps of many partitions at once: one request of markers at a time, and the true log ends behind it.

Both requests go out together on the markers' own link. A broker answers one connection's requests in order, so the log
ends are those after the markers; only they prove what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmigrate.cluster.network import Link
from kmigrate.copy.copier import Copier, Filling
from kmigrate.kafka_types import Offset, ProducerId, Term, TopicPartition
from kmigrate.wire import calls
from kmigrate.wire.call import Call
from kmigrate.wire.gap_calls import Markers, write_markers

MOST_MARKERS = 20_000
"""In one request: about a second of a broker's time."""


class _UnderWay(NamedTuple):
    fillings: dict[TopicPartition, tuple[Copier, Filling]]
    markers: Call[Mapping[TopicPartition, int]]
    ends: Call[Mapping[TopicPartition, calls.EpochEnd]]
    sent_at: float


class MarkerErrand:
    """What is under way on the markers' link, if anything."""

    def __init__(self, marker_id: ProducerId) -> None:
        self._marker_id = marker_id
        self._under_way: _UnderWay | None = None

    @property
    def sent_at(self) -> float | None:
        """Since when an answer is waited for; None if none is."""
        return None if self._under_way is None else self._under_way.sent_at

    def send(self, link: Link, copiers: Iterable[Copier], term: Term, now: float) -> None:
        """Takes the gap of each copier, or an equal share of what one request may hold, and asks for its markers."""
        waiting = list(copiers)[:MOST_MARKERS]
        share = MOST_MARKERS // len(waiting)
        fillings = {
            copier.partition: (copier, filling)
            for copier in waiting
            if (filling := copier.take_gap(term, share)) is not None
        }
        if not fillings:
            return
        wanted = {
            tp: Markers(filling.gap.next - filling.gap.base, filling.coordinator_epoch)
            for tp, (_, filling) in fillings.items()
        }
        markers = write_markers(wanted, self._marker_id)
        ends = calls.offset_for_leader_epoch({tp: copier.order.target_epoch for tp, (copier, _) in fillings.items()})
        self._under_way = _UnderWay(fillings, markers, ends, now)
        link.ask(markers)
        link.ask(ends)

    def receive(self, link: Link) -> list[Copier]:
        """Waits for both answers, and tells each copier what became of its gap; returns the copiers."""
        assert self._under_way is not None, "an answer is read only while a request is under way"
        fillings, markers, ends, _ = self._under_way
        errors, log_ends = link.answer(markers), link.answer(ends)
        self._under_way = None
        for tp, (copier, filling) in fillings.items():
            end = log_ends.get(tp)
            told = None if end is None or end.error else Offset(end.end_offset)
            copier.on_filled(filling, errors.get(tp, -1), told)
        return [copier for copier, _ in fillings.values()]

    def lost(self) -> None:
        """The link is gone; the copiers are told elsewhere, with all that they lost."""
        self._under_way = None
