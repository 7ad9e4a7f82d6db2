"""Looks into source partitions at a few places each, to see what copying them will meet; headers only.

A partition's offsets are cut into stretches of equal length, and the beginning of each is read; so is the last offset.
What a place shows stands for its whole stretch. Only decided data is asked for, as the copy does: transactional and
control batches are among it, and the answer tells which were aborted.

Bounded: at most PLACES places of PLACE_BYTES for each partition, and BUDGET_BYTES in all; what had to be left out is
told. A single batch that is larger than PLACE_BYTES is fetched whole, on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from kmigrate.cluster.network import Link
from kmigrate.cluster.reader import ANSWER_BYTES, Fetched, fetch_once
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Offset, Side, TopicId, TopicPartition
from kmigrate.preflight.bounds import NO_LEADER, by_leader
from kmigrate.records.census import Census, census_of_nothing, take_census
from kmigrate.topics.describe import in_batches
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import READ_COMMITTED, ClusterMetadata

PLACES = 8
PLACE_BYTES = 64 << 10
BUDGET_BYTES = 640 << 20
"""One place of each of 10,000 partitions."""
TOGETHER = ANSWER_BYTES // PLACE_BYTES
"""Partitions in one request."""


class Span(NamedTuple):
    """What of a partition is to be looked at: `start` ≤ offset < `end`."""

    topic_id: TopicId
    start: Offset
    end: Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What was seen, and what was not.

    `places` is how many were planned for each partition. The budget left `skipped` partitions without any, and
    `places_left_out` of the others aside.
    """

    found: Mapping[TopicPartition, Census]
    failures: Mapping[TopicPartition, str]
    places: int
    skipped: frozenset[TopicPartition]
    places_left_out: int


def take_samples(
    open_link: Callable[[BrokerAddress], Link],
    metadata: ClusterMetadata,
    spans: Mapping[TopicPartition, Span],
    budget_bytes: int = BUDGET_BYTES,
) -> Samples:
    """Looks into each partition that has something to look at; a leader that fails leaves the rest of its unseen."""
    filled = [tp for tp, span in spans.items() if span.start < span.end]
    chosen, places = thin_out(filled, budget_bytes)
    led, leaderless = by_leader(metadata, chosen)
    sampler = _Sampler(budget_bytes)
    sampler.failures.update(dict.fromkeys(leaderless, NO_LEADER.reason))
    for leader, partitions in led.items():
        try:
            link = open_link(metadata.brokers[leader])
            try:
                sampler.look(link, {tp: _Cursor(spans[tp], places) for tp in partitions})
            finally:
                link.close()
        except ClusterError as error:
            sampler.failures.update((tp, str(error)) for tp in partitions if tp not in sampler.found)
    return Samples(
        found=sampler.found,
        failures=sampler.failures,
        places=places,
        skipped=frozenset(filled).difference(chosen),
        places_left_out=sampler.places_left_out,
    )


def thin_out(partitions: Iterable[TopicPartition], budget_bytes: int) -> tuple[list[TopicPartition], int]:
    """Which partitions are looked at, and at how many places each.

    As many places as the budget allows; where it does not allow one for each partition, some are picked evenly.
    """
    ordered = sorted(partitions)
    affordable = max(1, budget_bytes // PLACE_BYTES)
    if len(ordered) <= affordable:
        return ordered, min(PLACES, affordable // max(1, len(ordered)))
    return [ordered[number * len(ordered) // affordable] for number in range(affordable)], 1


class _Cursor:
    """Where one partition is looked at next; done when it is at the end of its span."""

    def __init__(self, span: Span, places: int) -> None:
        self.span = span
        self.at: int = span.start
        self._places = places
        self._round = 0

    @property
    def done(self) -> bool:
        return self.at >= self.span.end

    def move(self, seen_to: int) -> None:
        """To the next place that is not seen yet."""
        self._round += 1
        start, end = self.span.start, self.span.end
        if self._round >= self._places:
            self.at = end
        elif self._round == self._places - 1:
            self.at = max(end - 1, seen_to)
        else:
            self.at = max(start + (end - start) * self._round // (self._places - 1), seen_to)

    def stop(self) -> None:
        self.at = self.span.end


class _Sampler:
    """What was seen so far, and how many bytes may still be read."""

    def __init__(self, budget_bytes: int) -> None:
        self.found: dict[TopicPartition, Census] = {}
        self.failures: dict[TopicPartition, str] = {}
        self.places_left_out = 0
        self._left_bytes = budget_bytes

    def look(self, link: Link, cursors: Mapping[TopicPartition, _Cursor]) -> None:
        """Round by round, each of these partitions at its next place."""
        while cursors:
            for some in in_batches(sorted(cursors), TOGETHER):
                self._look_once(link, {tp: cursors[tp] for tp in some})
            cursors = {tp: cursor for tp, cursor in cursors.items() if not cursor.done}

    def _look_once(self, link: Link, cursors: Mapping[TopicPartition, _Cursor]) -> None:
        """Every cursor has moved on afterwards, whatever came of it."""
        if self._left_bytes <= 0:
            self.places_left_out += len(cursors)
            for cursor in cursors.values():
                cursor.move(cursor.at)
            return
        fetched = fetch_once(
            Side.SOURCE,
            link,
            {tp: (cursor.span.topic_id, Offset(cursor.at)) for tp, cursor in cursors.items()},
            partition_bytes=PLACE_BYTES,
            max_wait_ms=0,
            isolation_level=READ_COMMITTED,
        )
        self._left_bytes -= sum(len(part.records) for part in fetched)
        answers = {part.partition: part for part in fetched}
        for tp, cursor in cursors.items():
            answer = answers.get(tp)
            if answer is None:
                cursor.move(cursor.at)
            elif answer.error:
                self.failures[tp] = error_name(answer.error)
                cursor.stop()
            elif (census := _count(answer, cursor)) is not None:
                self._keep(tp, cursor, census)
            elif len(cursors) > 1:  # nothing there, or its next batch is too large for a share of an answer
                self._look_once(link, {tp: cursor})
            else:
                self._keep(tp, cursor, census_of_nothing(cursor.at, cursor.span.end))

    def _keep(self, tp: TopicPartition, cursor: _Cursor, census: Census) -> None:
        (stretch,) = census.stretches
        at = cursor.at
        cursor.move(at + stretch.offsets)
        seen = replace(census, stretches=(stretch._replace(stands_for=cursor.at - at),))
        self.found[tp] = self.found.get(tp, Census()) + seen


def _count(answer: Fetched, cursor: _Cursor) -> Census | None:
    return take_census(answer.records, cursor.at, cursor.span.end, AbortedTransactions(answer.aborted).covers)
