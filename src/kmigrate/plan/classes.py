"""Which offset class every partition gets.  (pure)

::

    nothing speaks against the same offsets           identical
    only the log start does, and there are no gaps    shifted
    else                                              mapped

What may speak against the same offsets: filler up to the log start (budgets, the right to delete records), and gaps
(budget, the right to write markers). A class that the operator asks for, or under which a partition was begun, is never
changed: where it cannot be, that is a blocker.

Where all filler together exceeds its budget, partitions give way: those that may, the largest filler first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

from kmigrate.kafka_types import TopicPartition
from kmigrate.manifest import Offsets, OffsetsClass
from kmigrate.plan.allotment import Claim, give_way
from kmigrate.plan.estimates import FILLER_PER_SECOND, MARKERS_PER_SECOND, estimate_markers
from kmigrate.plan.facts import Facts, PartitionFacts, Right, TargetContent


class Objection(NamedTuple):
    """What speaks against a class: in few words, as a sentence with the numbers, and what to do about it."""

    brief: str
    full: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDecision:
    """One partition's class (None: it could not be looked at), why, and what the class itself costs.

    `filler` and `markers` (None: not known) are those that will be written; `seconds` is the time that one broker takes
    for them. `blocked` is why a class that must be cannot be; `chosen` says that any class would have done.
    """

    offset_class: OffsetsClass | None
    reason: str
    filler: int = 0
    markers: int | None = 0
    seconds: float = 0.0
    blocked: Objection | None = None
    chosen: bool = False


class Need(NamedTuple):
    """What the same offsets would take: filler, markers (None: not known), and whether gaps must be expected."""

    filler: int
    markers: int | None
    gaps: bool


def decide_classes(facts: Facts, wishes: Offsets) -> dict[TopicPartition, ClassDecision]:
    """The class of every partition, in the order of the facts."""
    giving_way = _give_way(facts, wishes)
    return {
        each.partition: decide_class(each, facts, wishes, gives_way=each.partition in giving_way)
        for each in facts.partitions
    }


def decide_class(partition: PartitionFacts, facts: Facts, wishes: Offsets, *, gives_way: bool = False) -> ClassDecision:
    """The class of one partition; `gives_way`: others use up the budget for all filler."""
    if partition.unknown:
        return ClassDecision(offset_class=None, reason=partition.unknown, markers=None)
    need = needs(partition, facts)
    wish = wishes.class_of(partition.partition.topic)
    if partition.target.content is TargetContent.OURS:
        return _begun(need, wish)
    about_start = start_objections(partition, need, wishes, gives_way=gives_way)
    about_gaps = gap_objections(need, facts, wishes)
    match wish:
        case OffsetsClass.IDENTICAL:
            return _forced(OffsetsClass.IDENTICAL, need, [*about_start, *about_gaps])
        case OffsetsClass.SHIFTED:
            return _forced(OffsetsClass.SHIFTED, need, [HAS_GAPS] if need.gaps else [])
        case OffsetsClass.MAPPED:
            return _forced(OffsetsClass.MAPPED, need, [])
        case OffsetsClass.AUTO:
            return _chosen(partition, need, about_start, about_gaps)


def needs(partition: PartitionFacts, facts: Facts) -> Need:
    """What the same offsets would take."""
    markers = estimate_markers(partition)
    transactions = partition.census is not None and bool(
        partition.census.transactional_batches or partition.census.control_batches
    )
    return Need(partition.filler, markers, bool(markers) or transactions or facts.topic_of(partition).compacted)


def start_objections(
    partition: PartitionFacts, need: Need, wishes: Offsets, *, gives_way: bool = False
) -> list[Objection]:
    """What speaks against filler up to where copying begins."""
    found = []
    if need.filler > wishes.pad_budget:
        full = f"it needs {need.filler:,} filler records, padBudget allows {wishes.pad_budget:,}"
        found.append(Objection("more filler than padBudget", full, "raise offsets.padBudget"))
    if need.filler and partition.target.may_delete is Right.DENIED:
        full = "the right to delete records on the target is missing, so its log cannot begin where the source's does"
        found.append(Objection("no right to delete records", full, "grant DELETE on the target topic"))
    if gives_way:
        full = f"with its {need.filler:,} filler records all exceed padBudgetTotal ({wishes.pad_budget_total:,})"
        found.append(Objection("padBudgetTotal is used up", full, "raise offsets.padBudgetTotal"))
    return found


def gap_objections(need: Need, facts: Facts, wishes: Offsets) -> list[Objection]:
    """What speaks against filling gaps with markers."""
    found = []
    if need.markers is not None and need.markers > wishes.gap_budget:
        full = f"it needs about {need.markers:,} markers, gapBudget allows {wishes.gap_budget:,}"
        found.append(Objection("more markers than gapBudget", full, "raise offsets.gapBudget"))
    if need.gaps and facts.may_write_markers is Right.DENIED:
        full = "the right to write markers on the target is missing, and gaps must be expected"
        hint = "grant CLUSTER_ACTION on the target cluster (from Kafka 3.8 on ALTER is enough)"
        found.append(Objection("no right to write markers", full, hint))
    return found


HAS_GAPS = Objection("it has gaps", "it has gaps, or must be expected to", "use mapped")
BEGUN = Objection("begun as identical", "it was begun as identical, and a class never changes", "use auto or identical")


def _begun(need: Need, wish: OffsetsClass) -> ClassDecision:
    blocked = None if wish in (OffsetsClass.AUTO, OffsetsClass.IDENTICAL) else BEGUN
    return _decision(OffsetsClass.IDENTICAL, need, BEGUN.brief, blocked)


def _forced(wish: OffsetsClass, need: Need, objections: list[Objection]) -> ClassDecision:
    blocked = objections[0] if objections else None
    reason = "; ".join(each.brief for each in objections) or "asked for by the manifest"
    return _decision(wish, need, reason, blocked)


def _chosen(
    partition: PartitionFacts, need: Need, about_start: list[Objection], about_gaps: list[Objection]
) -> ClassDecision:
    against = "; ".join(each.brief for each in [*about_start, *about_gaps])
    if not against:
        decision = _decision(OffsetsClass.IDENTICAL, need, _why_identical(partition, need))
    elif need.gaps:
        decision = _decision(OffsetsClass.MAPPED, need, against)
    else:
        decision = _decision(OffsetsClass.SHIFTED, need, f"{against}; no gaps")
    return replace(decision, chosen=True)


def _why_identical(partition: PartitionFacts, need: Need) -> str:
    where = "the log start" if partition.head == partition.start else "spec.start"
    reasons = [f"filler up to {where}" if need.filler else "no filler needed"]
    if need.markers is None:
        reasons.append("gaps are not known")
    elif need.markers:
        reasons.append("gaps are filled")
    else:
        reasons.append("gaps to come are filled" if need.gaps else "no gaps")
    return ", ".join(reasons)


def _decision(offset_class: OffsetsClass, need: Need, reason: str, blocked: Objection | None = None) -> ClassDecision:
    decision = ClassDecision(offset_class=offset_class, reason=reason, blocked=blocked)
    if offset_class is not OffsetsClass.IDENTICAL:
        return decision
    seconds = need.filler / FILLER_PER_SECOND + (need.markers or 0) / MARKERS_PER_SECOND
    return replace(decision, filler=need.filler, markers=need.markers, seconds=seconds)


def _give_way(facts: Facts, wishes: Offsets) -> Collection[TopicPartition]:
    """Partitions whose filler does not fit into the budget for all of it."""
    claims = [
        Claim(each.partition, each.filler, wishes.class_of(each.partition.topic) is not OffsetsClass.AUTO)
        for each in facts.partitions
        if each.filler and _wants_filler(decide_class(each, facts, wishes))
    ]
    return give_way(claims, wishes.pad_budget_total)


def _wants_filler(decision: ClassDecision) -> bool:
    return decision.offset_class is OffsetsClass.IDENTICAL and decision.blocked is None
