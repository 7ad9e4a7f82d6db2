"""The plan as one document: what becomes of every partition, why, and what it costs.  (pure)

Rule: the JSON (`apiVersion: kmigrate/v1`, `kind: Plan`) is a contract: keys are only ever added, readers ignore those
they do not know. A number that is not known is null, never 0.

Reference: docs/plan.md.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.kafka_types import TopicPartition
from kmigrate.manifest import Manifest, OffsetsClass
from kmigrate.offsets.beginning import EARLIEST
from kmigrate.plan.actions import PlannedAction, Verb
from kmigrate.plan.classes import ClassDecision, decide_classes
from kmigrate.plan.estimates import Rates, estimate_bytes, estimate_markers, is_exact
from kmigrate.plan.facts import Facts, PartitionFacts, TargetContent, TopicFacts
from kmigrate.plan.notices import Notice, NoticeKind, list_notices
from kmigrate.plan.waves import WavePlan
from kmigrate.preflight.findings import Finding
from kmigrate.preflight.registry import Level
from kmigrate.records.census import Census
from kmigrate.words import count_of

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Action(enum.Enum):
    """What `run` would do with a partition first."""

    CREATE = "create"
    """The target does not have it."""
    COPY = "copy"
    NOTHING = "nothing"
    """Everything decided is on the target already."""
    UNKNOWN = "unknown"
    """It could not be looked at."""


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What samples and settings showed. Batches are those that were sampled; `sampled_offsets` of the backlog."""

    sampled_places: int = 0
    sampled_offsets: int = 0
    sampled_batches: int = 0
    formats: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    transactional_batches: int = 0
    aborted_batches: int = 0
    control_batches: int = 0
    append_time_batches: int = 0
    holed_batches: int = 0
    largest_batch_bytes: int = 0
    compacted: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The same in few words, for a table."""
        told = {
            "compacted": self.compacted,
            "transactions": self.transactional_batches or self.control_batches,
            "aborted": self.aborted_batches,
            "LogAppendTime": self.append_time_batches,
            "holes": self.holed_batches,
        }
        codecs = tuple(codec for codec in self.codecs if codec != "none")
        return (*self.formats, *codecs, *(word for word, seen in told.items() if seen))


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """One partition.

    `filler`, `markers` and `class_seconds` are what its class costs; `gaps` are the offsets of the backlog without a
    visible record, whatever the class, `gaps_exact` whether all of it was looked at. `size_bytes` is what is to be
    copied, `start` where the copied part of the source begins. Source offsets are null where the source could not be
    looked at.
    """

    topic: str
    partition: int
    action: Action
    offset_class: OffsetsClass | None
    reason: str
    blocked: str = ""
    filler: int
    markers: int | None
    class_seconds: float
    backlog: int | None
    gaps: int | None
    gaps_exact: bool
    size_bytes: int | None
    source_start: int | None
    source_end: int | None
    source_high_watermark: int | None
    source_last_stable: int | None
    start: int | None
    target: TargetContent
    target_end: int | None
    found: Found


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Amounts of some partitions; null if one that counts is not known."""

    partitions: int
    filler: int
    markers: int | None
    backlog: int
    size_bytes: int | None
    seconds: float | None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """The partitions of one topic that have the same class; `found` is in few words."""

    topic: str
    offset_class: OffsetsClass | None
    actions: tuple[Action, ...]
    reasons: tuple[str, ...]
    blocked: int
    found: tuple[str, ...]
    sums: Sums


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """What must be mended first."""

    what: str
    hint: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutTopic:
    """A topic that does not move, and why."""

    topic: str
    reason: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is assumed to go through in a second, and what the operator allows to be spent."""

    filler_per_second: int
    markers_per_second: int
    copied_bytes_per_second: int
    pad_budget: int
    pad_budget_total: int
    gap_budget: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """A whole plan; `start` is the manifest's. `waves` are empty where the manifest has no scheme."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Plan"] = "Plan"
    name: str
    source_cluster_id: str
    target_cluster_id: str
    start: str = EARLIEST
    assumptions: Assumptions
    totals: Sums
    classes: dict[str, int]
    topics: tuple[TopicPlan, ...]
    partitions: tuple[PartitionPlan, ...]
    blockers: tuple[Blocker, ...]
    notices: tuple[Notice, ...]
    left_out: tuple[LeftOutTopic, ...]
    actions: tuple[PlannedAction, ...] = ()
    waves: tuple[WavePlan, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether `run` would create or copy something, or `apply` change something."""
        copies = any(each.action in (Action.CREATE, Action.COPY) for each in self.partitions)
        return copies or any(each.is_change for each in self.actions)

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _adapter().dump_json(self, by_alias=True, indent=indent).decode()

    def to_value(self) -> dict[str, Any]:
        """The document as plain values, with the keys of the JSON."""
        value: dict[str, Any] = _adapter().dump_python(self, mode="json", by_alias=True)
        return value


@cache
def _adapter() -> TypeAdapter[PlanDocument]:
    return TypeAdapter(PlanDocument)


def make_plan(
    manifest: Manifest,
    facts: Facts,
    findings: Iterable[Finding],
    actions: Iterable[PlannedAction] = (),
    waves: Iterable[WavePlan] = (),
) -> PlanDocument:
    """The plan that follows from the facts, with what the checks found, and what becomes of everything beside."""
    findings, actions = list(findings), tuple(actions)
    decisions = decide_classes(facts, manifest.offsets)
    rates = Rates.of(
        target_brokers=facts.target_brokers, workers=manifest.workers or 1, limit=manifest.limits.bytes_per_second
    )
    partitions = tuple(_partition(each, facts.topic_of(each), decisions[each.partition]) for each in facts.partitions)
    totals = _sums(partitions, rates)
    checked = tuple(Notice(kind=NoticeKind.CHECK, text=str(each)) for each in findings if each.level is Level.WARN)
    return PlanDocument(
        name=manifest.name,
        source_cluster_id=facts.source_cluster_id,
        target_cluster_id=facts.target_cluster_id,
        start=facts.start,
        assumptions=Assumptions(
            filler_per_second=rates.filler,
            markers_per_second=rates.markers,
            copied_bytes_per_second=rates.copied_bytes,
            pad_budget=manifest.offsets.pad_budget,
            pad_budget_total=manifest.offsets.pad_budget_total,
            gap_budget=manifest.offsets.gap_budget,
        ),
        totals=totals,
        classes=_count_classes(partitions),
        topics=tuple(_fold(partitions, rates)),
        partitions=partitions,
        blockers=(
            *(Blocker(what=each.what, hint=each.hint) for each in findings if each.level is Level.BLOCK),
            *_class_blockers(decisions),
            *_action_blockers(actions),
        ),
        notices=(*checked, *list_notices(facts, decisions, totals.seconds)),
        left_out=tuple(LeftOutTopic(topic=name, reason=reason) for name, reason in facts.left_out.items()),
        actions=actions,
        waves=tuple(waves),
    )


def _partition(facts: PartitionFacts, topic: TopicFacts, decision: ClassDecision) -> PartitionPlan:
    seen = not facts.unseen
    there = facts.target.content not in (TargetContent.ABSENT, TargetContent.UNSEEN)
    return PartitionPlan(
        topic=facts.partition.topic,
        partition=facts.partition.partition,
        action=_action(facts),
        offset_class=decision.offset_class,
        reason=decision.reason,
        blocked=decision.blocked.full if decision.blocked is not None else "",
        filler=decision.filler,
        markers=decision.markers,
        class_seconds=decision.seconds,
        backlog=facts.backlog if seen else None,
        gaps=estimate_markers(facts) if seen else None,
        gaps_exact=seen and is_exact(facts),
        size_bytes=estimate_bytes(facts) if seen else None,
        source_start=facts.start if seen else None,
        source_end=facts.end if seen else None,
        source_high_watermark=facts.high_watermark if seen else None,
        source_last_stable=facts.last_stable if seen else None,
        start=facts.head if seen else None,
        target=facts.target.content,
        target_end=facts.target.end if there else None,
        found=_found(facts.census or Census(), topic),
    )


def _action(facts: PartitionFacts) -> Action:
    if facts.target.content is TargetContent.ABSENT:
        return Action.CREATE
    if facts.unknown:
        return Action.UNKNOWN
    return Action.COPY if facts.backlog or facts.filler else Action.NOTHING


def _found(census: Census, topic: TopicFacts) -> Found:
    return Found(
        sampled_places=len(census.stretches),
        sampled_offsets=census.offsets,
        sampled_batches=census.batches,
        formats=tuple(f"v{each}" for each in sorted(census.formats)),
        codecs=tuple(sorted(census.codecs)),
        transactional_batches=census.transactional_batches,
        aborted_batches=census.aborted_batches,
        control_batches=census.control_batches,
        append_time_batches=census.append_time_batches,
        holed_batches=census.holed_batches,
        largest_batch_bytes=census.largest_batch_bytes,
        compacted=topic.compacted,
    )


def _fold(partitions: Iterable[PartitionPlan], rates: Rates) -> Iterable[TopicPlan]:
    """One row for each topic and class, in the order of topics."""

    def key(plan: PartitionPlan) -> tuple[str, str]:
        return plan.topic, plan.offset_class.value if plan.offset_class is not None else ""

    for (topic, _), group in groupby(sorted(partitions, key=lambda each: (*key(each), each.partition)), key):
        rows = list(group)
        yield TopicPlan(
            topic=topic,
            offset_class=rows[0].offset_class,
            actions=tuple(action for action in Action if any(row.action is action for row in rows)),
            reasons=tuple(dict.fromkeys(row.reason for row in rows)),
            blocked=sum(bool(row.blocked) for row in rows),
            found=tuple(dict.fromkeys(word for row in rows for word in row.found.words)),
            sums=_sums(rows, rates),
        )


def _sums(partitions: Iterable[PartitionPlan], rates: Rates) -> Sums:
    """Partitions without a class count for nothing but themselves."""
    partitions = list(partitions)
    known = [each for each in partitions if each.offset_class is not None]
    filler = sum(each.filler for each in known)
    markers = _total(each.markers for each in known)
    size_bytes = _total(each.size_bytes for each in known)
    seconds = None
    if markers is not None and size_bytes is not None:
        seconds = filler / rates.filler + markers / rates.markers + size_bytes / rates.copied_bytes
    return Sums(
        partitions=len(partitions),
        filler=filler,
        markers=markers,
        backlog=sum(each.backlog or 0 for each in known),
        size_bytes=size_bytes,
        seconds=seconds,
    )


def _total(amounts: Iterable[int | None]) -> int | None:
    known = list(amounts)
    return None if None in known else sum(each for each in known if each is not None)


def _count_classes(partitions: Iterable[PartitionPlan]) -> dict[str, int]:
    names = [each.offset_class.value if each.offset_class is not None else "unknown" for each in partitions]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _action_blockers(actions: Iterable[PlannedAction]) -> Iterable[Blocker]:
    for each in actions:
        if each.action is Verb.BLOCKED and each.hint:
            yield Blocker(what=each.reason, hint=each.hint)


def _class_blockers(decisions: Mapping[TopicPartition, ClassDecision]) -> Iterable[Blocker]:
    """One for each topic, class and objection, with the first partition it holds for."""
    blocked: dict[tuple[str, OffsetsClass, str], list[TopicPartition]] = {}
    for partition, decision in decisions.items():
        if decision.blocked is not None and decision.offset_class is not None:
            key = partition.topic, decision.offset_class, decision.blocked.brief
            blocked.setdefault(key, []).append(partition)
    for (topic, offset_class, _), partitions in blocked.items():
        objection = decisions[partitions[0]].blocked
        assert objection is not None
        number = count_of(len(partitions), "partition")
        yield Blocker(
            what=f"topic {topic} cannot be {offset_class.value} in {number}; {partitions[0]}: {objection.full}",
            hint=objection.hint,
        )
