"""Waves and facts for tests: everything is as a step wants it, until a test changes something."""

from __future__ import annotations

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.cutover import Cutover, Phase
from kmigrate.schemes.effects import EffectKind, End
from kmigrate.schemes.events import Approve, EffectDone, FactsSeen, Next, Refusal
from kmigrate.schemes.facts import GroupFacts, PartitionFacts, WaveFacts
from kmigrate.schemes.machine import decide
from kmigrate.schemes.page import example
from kmigrate.schemes.wave import Ending, History, Wave

ORDERS, BILLS = TopicName("orders"), TopicName("bills")
ORDERS_0, BILLS_0 = (TopicPartition(topic, Partition(0)) for topic in (ORDERS, BILLS))
END = Offset(500)
NOW = 10_000.0
CLEAN = example(Scheme.CONSUMERS_FIRST, Ending.CLEAN)
OVERLAP = example(Scheme.CONSUMERS_FIRST, Ending.OVERLAP)
ROLLING = example(Scheme.PRODUCERS_FIRST, History.NONE)
LATER = example(Scheme.PRODUCERS_LATER, History.NONE)
STOPPED = example(Scheme.PRODUCERS_FIRST, History.STOPPED)
WAVES = (CLEAN, OVERLAP, ROLLING, LATER, STOPPED)


def partition(**changes: object) -> PartitionFacts:
    """A partition that is copied and verified to its end, and quiet on both sides."""
    good: dict[str, object] = {
        "source_end": END,
        "target_end": END,
        "source_still_since": 0.0,
        "target_still_since": 0.0,
        "is_settled": True,
        "is_target_settled": True,
        "is_in_sync": True,
        "copied": END,
        "verified": END,
        "stop": "",
        "application_records": 0,
        "late_records": 0,
        "copied_back": END,
        "verified_back": END,
    }
    return PartitionFacts(**(good | changes))  # type: ignore[arg-type]


def group(**changes: object) -> GroupFacts:
    """A group on the source that has read everything there."""
    good: dict[str, object] = {
        "source_members": 1,
        "target_members": 0,
        "source_lag": 0,
        "target_lag": 0,
        "is_target_lag_falling": True,
        "unowned_on_target": 0,
        "are_commits_copied": True,
        "is_prepared": True,
        "do_positions_hold": True,
    }
    return GroupFacts(**(good | changes))  # type: ignore[arg-type]


GONE = group(source_members=0)
MOVED = group(source_members=0, target_members=1)


def facts(wave: Wave = CLEAN, *, groups: GroupFacts | None = None, **changes: object) -> WaveFacts:
    """Every partition and group as above; `changes` are of the partitions, `groups` what all groups are."""
    topics = frozenset(wave.topics)
    return WaveFacts(
        at_seconds=NOW,
        partitions={TopicPartition(topic, Partition(0)): partition(**changes) for topic in topics},
        groups=dict.fromkeys(wave.groups, groups or group()),
        stragglers=(),
        holds=topics,
        fenced_on_source=topics,
        fenced_on_target=topics,
        is_lease_held=True,
        do_rates_agree=True,
    )


def good_facts(cutover: Cutover, *, moved: bool = True) -> WaveFacts:
    """Facts that open the gates of the step that a cutover is at; groups of moves behind it are on the target."""
    step, wave = cutover.at.step, cutover.wave
    behind = {name for stage in cutover.stages[: cutover.stage] for name in stage.move.groups}
    here = {
        "stop-readers": GONE,
        "freeze": GONE,
        "start-readers": MOVED,
        "start-application": MOVED,
        "move-readers": MOVED,
        "move-application": MOVED,
        "join-readers": group(target_members=1),
        "stop-old-readers": MOVED,
        "stop-on-target": GONE,
        "freeze-back": GONE,
        "return": GONE,
        "arm": MOVED,
        "watch": MOVED,
    }.get(step.name, group())
    has_target_writers = step.name in ("start-writers", "start-application", "move-writers", "move-application")
    seen = facts(wave, application_records=5 if has_target_writers else 0)
    groups = {
        name: here if name in cutover.at.move.groups else MOVED if name in behind else group() for name in wave.groups
    }
    return WaveFacts(
        at_seconds=NOW,
        partitions=seen.partitions,
        groups=groups,
        stragglers=(),
        holds=seen.holds,
        fenced_on_source=seen.holds,
        fenced_on_target=seen.holds,
        is_lease_held=True,
        do_rates_agree=True,
    )


def ends_for(cutover: Cutover) -> tuple[End, ...]:
    """What the pending effect finds, if it records ends."""
    effect = cutover.next_effect
    assert effect is not None
    if effect.kind not in (EffectKind.FREEZE, EffectKind.FREEZE_TARGET, EffectKind.END_COPY):
        return ()
    return tuple(End(topic, Partition(0), END) for topic in cutover.topics_of(effect.scope))


def act(cutover: Cutover, seen: WaveFacts | None = None, now: float = NOW) -> Cutover:
    """Carries out everything that is pending."""
    while cutover.next_effect is not None:
        done = EffectDone(effect=cutover.next_effect, ends=ends_for(cutover))
        cutover = moved(cutover, done, seen or facts(cutover.wave), now)
    return cutover


def moved(cutover: Cutover, event: object, seen: WaveFacts, now: float = NOW) -> Cutover:
    """What follows from an event that is not refused."""
    decision = decide(cutover, event, seen, now)  # type: ignore[arg-type]
    assert not isinstance(decision, Refusal), decision
    return decision.cutover


def step_on(cutover: Cutover, now: float = NOW) -> Cutover:
    """Leaves the step with every gate open and every approval given, and carries out its effects."""
    seen = good_facts(cutover)
    step = cutover.at.step
    if (step.is_irreversible or step.asks_ahead) and not cutover.is_approved(now):
        cutover = moved(cutover, Approve(number=cutover.number), seen, now)
    cutover = moved(cutover, FactsSeen(), seen, now)
    return act(moved(cutover, Next(number=cutover.number), seen, now), seen, now)


def walk_to(cutover: Cutover, name: str) -> Cutover:
    """Steps on until a step of this name."""
    while cutover.at.step.name != name:
        assert cutover.phase is Phase.WAITING
        cutover = step_on(cutover)
    return cutover
