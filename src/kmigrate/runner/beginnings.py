"""Class and beginning of every partition, decided together, once, before it is first ordered, and kept in the store.

Both rest on where the partition's log starts and stably ends, so the source is asked first: for all partitions that
need it in one errand, away from the owner's loop. Who cannot be asked waits, and is asked again.

Rule: `spec.start` counts for the partitions that the source had when the migration began. What turned up since is
copied from its beginning: what was written before it was noticed would be lost otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.beginning import EARLIEST, Beginning, first_wanted, time_of
from kmigrate.offsets.classes import OffsetClass
from kmigrate.plan.allotment import Claim, give_way
from kmigrate.preflight.bounds import Bounds, Unseen, read_bounds
from kmigrate.runner.errand import Errand
from kmigrate.runner.maps import Maps
from kmigrate.state.store import Store
from kmigrate.wire.calls import ClusterMetadata, TopicMetadata

log = logging.getLogger(__name__)

START = "start"
"""Fact of the store: the `spec.start` with which the migration began."""
BEING_ASKED = "the source is asked where its log begins"
AGAIN_SECONDS = 1.0
_ZERO = Offset(0)

Seen = Mapping[TopicPartition, Bounds | Unseen]


class Undecided(NamedTuple):
    """A partition of the source topic with this id; `wish` is the class that must be, None: any may."""

    source_topic_id: TopicId
    wish: OffsetClass | None


class Decided(NamedTuple):
    """What is decided of a partition."""

    offset_class: OffsetClass
    beginning: Beginning


class Rules(NamedTuple):
    """What the manifest says, and what earlier partitions left of padBudgetTotal."""

    start: str
    pad_budget: int
    left: int


Look = Callable[[Mapping[TopicPartition, TopicId], int | None], Seen]
"""Asks the source about partitions of these topic ids, with or without a time in milliseconds; may take long."""


def decide_beginnings(
    undecided: Mapping[TopicPartition, Undecided],
    bounds: Mapping[TopicPartition, Bounds],
    known: Mapping[TopicPartition, Beginning],
    rules: Rules,
) -> dict[TopicPartition, Decided]:
    """Class and beginning of the partitions whose bounds are there.

    A beginning that is `known` for the same source topic stays. Identical where budgets allow it, else shifted; what
    must be identical and may not stops with a question before anything is written.
    """
    decided: dict[TopicPartition, Decided] = {}
    claims: list[Claim] = []
    for tp, (topic_id, wish) in undecided.items():
        if tp not in bounds:
            continue
        start = _start(topic_id, bounds[tp], known.get(tp), rules.start)
        head = max(bounds[tp].start, start)
        fits = head <= rules.pad_budget
        offset_class = wish or (OffsetClass.IDENTICAL if fits else OffsetClass.SHIFTED)
        if offset_class is OffsetClass.IDENTICAL and fits and head:
            claims.append(Claim(tp, head, forced=wish is not None))
        decided[tp] = Decided(offset_class, Beginning(topic_id, start))
    without = give_way(claims, rules.left)
    for tp, filler, forced in claims:
        if tp not in without:
            decided[tp] = Decided(OffsetClass.IDENTICAL, decided[tp].beginning._replace(filler=filler))
        elif forced:
            decided[tp] = Decided(OffsetClass.IDENTICAL, decided[tp].beginning._replace(filler=None))
        else:
            decided[tp] = decided[tp]._replace(offset_class=OffsetClass.SHIFTED)
    return decided


def _start(topic_id: TopicId, bounds: Bounds, known: Beginning | None, start: str) -> Offset:
    if known is None or known.source_topic_id != topic_id:
        return _ZERO  # it turned up since
    if known.start is not None:
        return min(known.start, bounds.last_stable)  # above it only where the source was truncated
    return first_wanted(start, bounds.last_stable, bounds.at_time)


def take_inventory(store: Store, start: str, listed: Mapping[TopicName, TopicMetadata], *, is_first: bool) -> None:
    """Records once which partitions the source has when the migration begins, selected or not.

    Where it began before (`is_first` is not true: an older version began it, or the state was lost), nobody can tell
    what was there then: whatever nothing is remembered of is copied from its beginning, so that nothing is lost.
    """
    if store.get(START) is not None:
        return
    there = {
        TopicPartition(name, Partition(number)): Beginning(topic.topic_id, None)
        for name, topic in listed.items()
        if not topic.is_internal
        for number in topic.partitions
    }
    began_with = EARLIEST if store.remembered() else start
    store.record_beginnings(there if is_first else {}, {START: began_with})


def changed_start(store: Store, start: str) -> str:
    """What is to be said of a `spec.start` that is another one than at the beginning; empty if it is not."""
    began_with = store.get(START) or (EARLIEST if store.remembered() else start)
    if began_with == start:
        return ""
    return (
        f"spec.start is {start} now, but the migration began with {began_with}: what was decided for a partition stays,"
        " and only partitions that could not be asked yet begin where it says now"
    )


def look_at(client: ClusterClient) -> Look:
    """Asks the source with this client."""

    def look(wanted: Mapping[TopicPartition, TopicId], at_ms: int | None) -> Seen:
        if not wanted:
            return {}
        metadata = client.metadata(sorted({tp.topic for tp in wanted}))
        same = [tp for tp, topic_id in wanted.items() if _topic_id(metadata, tp) in (topic_id, None)]
        others = dict.fromkeys(wanted.keys() - set(same), Unseen("another topic has taken its name"))
        return {**others, **read_bounds(client, metadata, same, at_ms)}

    return look


def _topic_id(metadata: ClusterMetadata, partition: TopicPartition) -> TopicId | None:
    topic = metadata.topics.get(partition.topic)
    return None if topic is None or not topic.partitions else topic.topic_id


class Beginnings:
    """What one owner knows of beginnings, and the errand that asks for what it needs; used by one thread."""

    def __init__(self, store: Store, maps: Maps, manifest: Manifest, look: Look) -> None:
        self._maps = maps
        self._start = manifest.start
        self._pad_budget = manifest.offsets.pad_budget
        self._pad_budget_total = manifest.offsets.pad_budget_total
        self._look = look
        self._store = store
        self._known = store.beginnings()
        self._unpadded = {tp for tp, each in self._known.items() if not each.filler}
        """Partitions without filler of an earlier run: with other budgets now, they may get some."""
        self._errand: tuple[Mapping[TopicPartition, Undecided], Errand[Seen]] | None = None
        self._ask_again = False
        self._rest_until = 0.0
        self.failures: dict[TopicPartition, str] = {}
        """Partitions that could not be asked, and why; the last word on each."""
        self.refused: set[TopicPartition] = set()
        """Those of them where asking again does not help."""

    def adopt(self, beginnings: Mapping[TopicPartition, Beginning]) -> None:
        """What the target remembers of partitions that the store has lost."""
        new = {tp: each for tp, each in beginnings.items() if tp not in self._known}
        self._store.record_beginnings(new)
        self._known |= new

    def get(self, partition: TopicPartition) -> Beginning | None:
        """What is known of it; None: nothing, and so it begins where its log does."""
        return self._known.get(partition)

    def start_of(self, partition: TopicPartition) -> Offset:
        """The first offset that is wanted."""
        known = self._known.get(partition)
        return known.start if known is not None and known.start is not None else _ZERO

    def own_from_of(self, partition: TopicPartition) -> Offset | None:
        """From which target offset on the log is the copy's; None: all of it."""
        known = self._known.get(partition)
        return None if known is None else known.own_from

    def lacks_filler(self, partition: TopicPartition) -> bool:
        """Whether it must be identical, needs filler for that, and nothing was left for it."""
        known = self._known.get(partition)
        return known is not None and known.filler is None

    def pad_budget_of(self, partition: TopicPartition) -> int:
        """How much filler it may take."""
        return 0 if self.lacks_filler(partition) else self._pad_budget

    def is_unpadded(self, partition: TopicPartition) -> bool:
        """Whether an earlier run gave it no filler, so that it must be decided anew whether it gets some."""
        return partition in self._unpadded and self._maps.class_of(partition) is OffsetClass.IDENTICAL

    def is_of(self, partition: TopicPartition, source_topic_id: TopicId) -> bool:
        """Whether what was decided is about this source topic."""
        known = self._known.get(partition)
        return known is None or known.source_topic_id == source_topic_id

    def step(
        self, undecided: Callable[[], Mapping[TopicPartition, Undecided]], now: float, *, may_be_more: bool
    ) -> bool:
        """Decides what was answered, and asks for what is undecided; True if there is something new.

        `undecided` is called only if `may_be_more`, or to ask again.
        """
        is_new = self._collect(now)
        self._ask_again |= may_be_more or is_new
        if self._errand is None and (self._ask_again or self.failures) and now >= self._rest_until:
            self._ask_again = False
            wanted = undecided()
            self.failures = {tp: reason for tp, reason in self.failures.items() if tp in wanted}
            self.refused &= wanted.keys()
            if wanted:
                self._errand = wanted, Errand(self._question(wanted), "beginnings")
        return is_new

    def _question(self, wanted: Mapping[TopicPartition, Undecided]) -> Callable[[], Seen]:
        at_ms = time_of(self._start)
        ids = {tp: each.source_topic_id for tp, each in wanted.items()}
        by_time = {tp: each for tp, each in ids.items() if at_ms is not None and self._is_open(tp, each)}
        others = {tp: each for tp, each in ids.items() if tp not in by_time}
        return lambda: {**self._look(by_time, at_ms), **self._look(others, None)}

    def _is_open(self, partition: TopicPartition, source_topic_id: TopicId) -> bool:
        known = self._known.get(partition)
        return known is not None and known.start is None and known.source_topic_id == source_topic_id

    def _collect(self, now: float) -> bool:
        if self._errand is None or not self._errand[1].done:
            return False
        wanted, errand = self._errand
        self._errand = None
        self._rest_until = now + AGAIN_SECONDS
        try:
            seen = errand.result()
        except ClusterError as error:
            seen = dict.fromkeys(wanted, Unseen(str(error)))
        bounds = {tp: each for tp, each in seen.items() if isinstance(each, Bounds)}
        unseen = {tp: each for tp, each in seen.items() if isinstance(each, Unseen)}
        failures = {tp: f"where to begin is not known: {each.reason}" for tp, each in unseen.items()}
        is_new = failures != self.failures
        for tp in failures.keys() - self.failures.keys():
            log.warning("%s: %s", tp, failures[tp])
        self.failures, self.refused = failures, {tp for tp, each in unseen.items() if each.for_good}
        rules = Rules(self._start, self._pad_budget, self._pad_budget_total - self._used(wanted))
        decided = decide_beginnings(wanted, bounds, self._known, rules)
        self._adopt(decided)
        return is_new or bool(decided)

    def _used(self, undecided: Mapping[TopicPartition, Undecided]) -> int:
        """What other partitions have of padBudgetTotal."""
        return sum(
            each.filler or 0
            for tp, each in self._known.items()
            if tp not in undecided and self._maps.class_of(tp) is OffsetClass.IDENTICAL
        )

    def _adopt(self, decided: Mapping[TopicPartition, Decided]) -> None:
        beginnings = {tp: each.beginning for tp, each in decided.items()}
        self._maps.decide({tp: each.offset_class for tp, each in decided.items()}, beginnings)
        self._known |= beginnings
        self._unpadded -= decided.keys()
        for tp, (offset_class, (_, start, filler, _)) in decided.items():
            if start or filler != 0 or offset_class is not OffsetClass.IDENTICAL:
                log.info("%s begins at offset %s in class %s, filler %s", tp, start, offset_class, filler)
