"""Facts are what the shell has seen of a wave, as one immutable snapshot. None is *not known*, and counts as no.

Rule: facts are observations, never conclusions; gates draw those. Times are seconds since the epoch on the owner's
clock, so that they mean the same after a restart; offsets are Kafka's. What only an operator can tell (an application
with checkpoints of its own has stopped) is attested, by the name of the step and the move it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmigrate.kafka_types import Offset, ProducerId, TopicName, TopicPartition

GROWS_SECONDS = 10.0
"""A log end that moved within this time counts as growing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """One partition on both sides.

    `source_end` and `target_end` are true log ends as far as applications, or the copy to the target, moved them; so
    are the times since when they stand still: what a reverse copy appends to the source does not count. `is_settled`:
    on the source no transaction is open, and high watermark, last stable offset and log end are the same;
    `is_target_settled` is that of the target. `copied` and `verified` are source offsets below which everything is on
    the target, and was compared; `copied_back` and `verified_back` target offsets below which everything is on the
    source again. `stop` names a stopped copy, "" is none, `late_stop` why its late records are not appended any more.
    `application_records` are those on the target that kmigrate
    did not write. `late_records` are those on the source that the target does not have, that some group has not read on
    the source, and that were neither appended nor listed; `late_appended` are those that lie on the target.
    """

    source_end: Offset | None = None
    target_end: Offset | None = None
    source_still_since: float | None = None
    target_still_since: float | None = None
    is_settled: bool | None = None
    is_target_settled: bool | None = None
    is_in_sync: bool | None = None
    copied: Offset | None = None
    verified: Offset | None = None
    stop: str | None = None
    late_stop: str = ""
    application_records: int | None = None
    late_records: int | None = None
    late_appended: int = 0
    copied_back: Offset | None = None
    verified_back: Offset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """One group on both sides; lags are records, over the topics of the wave, but for what a reverse copy appended.

    `are_commits_copied`: what it has committed on the source lies within what is copied. `is_prepared`: its commits on
    the target were read back as they were written, or have moved on from there. `do_positions_hold`: its members
    began on the target at what was committed there, so no reset policy decided. `unowned_on_target` counts partitions
    that no member has.
    """

    source_members: int | None = None
    target_members: int | None = None
    source_lag: int | None = None
    target_lag: int | None = None
    is_target_lag_falling: bool | None = None
    unowned_on_target: int | None = None
    are_commits_copied: bool | None = None
    is_prepared: bool | None = None
    do_positions_hold: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A partition that still grows on the side that its writers should have left; ids as far as Kafka tells them."""

    partition: TopicPartition
    producer_ids: tuple[ProducerId, ...] = ()
    transactional_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = [f"producer id {each}" for each in self.producer_ids]
        told += [f"transactional id {each}" for each in self.transactional_ids]
        return f"{self.partition} ({', '.join(told) or 'Kafka names no producer'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveFacts:
    """Everything that was seen of a wave at one time. A partition or group that is missing is not known.

    `holds` are the topics whose target settings are those for copying; `is_lease_held`: nobody else writes for the
    migration; `do_rates_agree`: both sides grew by the same over the last minute.
    """

    at_seconds: float
    partitions: Mapping[TopicPartition, PartitionFacts] = field(default_factory=dict)
    groups: Mapping[str, GroupFacts] = field(default_factory=dict)
    stragglers: tuple[Straggler, ...] | None = None
    holds: frozenset[TopicName] | None = None
    fenced_on_source: frozenset[TopicName] | None = None
    fenced_on_target: frozenset[TopicName] | None = None
    is_lease_held: bool | None = None
    do_rates_agree: bool | None = None
    attested: frozenset[tuple[str, str]] = frozenset()
    """(name of the step, name of the move): the operator says that what the step asks for is done."""
