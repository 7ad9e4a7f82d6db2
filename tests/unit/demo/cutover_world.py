"""A cutover of the real machine over applications that do at once what they are told."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from kmigrate.demo.service.commands import Answer
from kmigrate.demo.service.situation import Situation, situations_of
from kmigrate.kafka_types import Partition, Side, TopicPartition
from kmigrate.schemes.cutover import Cutover, Phase, Way, begin
from kmigrate.schemes.events import (
    Abort,
    Approve,
    Command,
    EffectDone,
    EffectFailed,
    FactsSeen,
    Finish,
    Next,
    Refusal,
    RefusalKind,
    RollBack,
)
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.machine import decide, due
from kmigrate.schemes.telling import tell
from kmigrate.schemes.wave import Wave
from tests.unit.schemes.examples import END, ends_for, group, partition

SOURCE, TARGET = Side.SOURCE, Side.TARGET
Places = dict[str, set[Side]]


class CutoverWorld:
    """One wave. Two members of every group and two writers of every topic begin on the source; a move with both is one.

    `log` is what was done, in order; `failing` are effects that fail for good the first time.
    """

    def __init__(self, wave: Wave, *, failing: Collection[str] = ()) -> None:
        self.wave = wave
        self.cutover: Cutover = begin(wave, 0.0)
        self.now = 0.0
        self.log: list[str] = []
        self.said: list[str] = []
        self.is_verified = False
        self.places: Places = {}
        self.written: set[tuple[str, Side]] = set()
        self._failing = set(failing)
        self._writes: dict[str, set[str]] = {}
        self._reads: dict[str, set[str]] = {}
        for move in wave.moves:
            for number in (1, 2):
                name = f"{move.name}-{number}"
                self.places[name] = {SOURCE}
                self._writes[name], self._reads[name] = set(move.topics), set(move.groups)

    # -- the applications

    def writers(self, topics: Collection[str]) -> tuple[str, ...]:
        return tuple(name for name, writes in self._writes.items() if writes & set(topics))

    def readers(self, groups: Collection[str]) -> tuple[str, ...]:
        return tuple(name for name, reads in self._reads.items() if reads & set(groups))

    def sides(self, name: str) -> frozenset[Side]:
        return frozenset(self.places[name])

    def start(self, names: Iterable[str], on: Side) -> None:
        for name in names:
            self.places[name].add(on)
            self.log.append(f"start {name} {on}")

    def stop(self, names: Iterable[str], on: Side | None = None) -> None:
        for name in names:
            self.places[name] -= {SOURCE, TARGET} if on is None else {on}
            self.log.append(f"stop {name} {on or 'everywhere'}")

    def roll(self, names: Iterable[str], to: Side) -> None:
        for name in names:
            self.places[name] = {to}
            self.log.append(f"roll {name} {to}")

    # -- the commands

    def document(self) -> dict[str, Any]:
        """What `cutover status -o json` prints; time passes, and what goes by itself goes on."""
        self._pass_time()
        told, at = tell(self.cutover, self._facts(), self.now), self.cutover.at
        wave = asdict(told) | {
            "scheme": self.wave.scheme.value,
            "phase": self.cutover.phase.value,
            "outcome": None if self.cutover.outcome is None else self.cutover.outcome.value,
            "number": self.cutover.number,
            "way": self.cutover.way.value,
            "step": {
                "number": at.number,
                "name": at.step.name,
                "move": at.move.name,
                "topics": list(at.move.topics),
                "groups": list(at.move.groups),
            },
            "evidence": [
                {"gate": each.gate.value, "open": each.is_open, "told": each.told, "way": each.way}
                for each in told.evidence
            ],
            "needsApproval": self._needs_approval(),
        }
        return {"waves": [wave]}

    def status(self) -> tuple[Situation, ...]:
        return situations_of(self.document())

    def next(self, wave: str, *, approve: bool, attest: bool = False) -> Answer:
        return self._post(Next, approve=approve)

    def finish(self, wave: str) -> Answer:
        return self._post(Finish, approve=True)

    def abort(self, wave: str) -> Answer:
        return self._post(Abort)

    def rollback(self, wave: str) -> Answer:
        return self._post(RollBack)

    def verify(self) -> None:
        self.is_verified = True
        self.log.append(f"verify at {self.cutover.at.step.name}")

    def _needs_approval(self) -> bool:
        step = self.cutover.at.step
        return (step.is_irreversible or step.asks_ahead) and not self.cutover.is_approved(self.now)

    def _post(self, kind: type[Next | Finish | Abort | RollBack], *, approve: bool = False) -> Answer:
        step = self.cutover.at.step.name
        events: list[type[Command]] = [Approve, kind] if approve else [kind]
        for each in events:
            decision = decide(self.cutover, each(number=self.cutover.number), self._facts(), self.now)  # type: ignore[call-arg]
            if isinstance(decision, Refusal):
                is_closed = decision.kind in (RefusalKind.CLOSED, RefusalKind.UNAPPROVED)
                return Answer.CLOSED if is_closed else Answer.REFUSED
            self.cutover = decision.cutover
        self.log.append(f"{kind.__name__} at {step}")
        return Answer.DONE

    def _pass_time(self) -> None:
        self.now += 1.0
        while True:
            before = self.cutover
            self._take(FactsSeen())
            for event in due(self.cutover, self._facts(), self.now):
                self._take(event)
            while (effect := self.cutover.next_effect) is not None:
                if effect.kind.value in self._failing:
                    self._failing.discard(effect.kind.value)
                    self._take(EffectFailed(effect=effect, reason="the disk is full", is_final=True))
                else:
                    self._take(EffectDone(effect=effect, ends=ends_for(self.cutover)))
            if replace(self.cutover, open_since=None) == replace(before, open_since=None):
                return

    def _take(self, event: Any) -> None:
        decision = decide(self.cutover, event, self._facts(), self.now)
        if not isinstance(decision, Refusal):
            self.cutover = decision.cutover

    # -- what is seen

    def _facts(self) -> WaveFacts:
        for name, writes in self._writes.items():
            self.written |= {(topic, side) for topic in writes for side in self.places[name]}
        is_on_source = {t: self._runs(self.writers([t]), SOURCE) for t in self.wave.topics}
        is_on_target = {t: self._runs(self.writers([t]), TARGET) for t in self.wave.topics}
        topics = frozenset(self.wave.topics)
        return WaveFacts(
            at_seconds=self.now,
            partitions={
                place: partition(
                    source_still_since=math.inf if is_on_source[place.topic] else -math.inf,
                    target_still_since=math.inf if is_on_target[place.topic] else -math.inf,
                    verified=END if self.is_verified else None,
                    application_records=5 if (place.topic, TARGET) in self.written else 0,
                )
                for place in (TopicPartition(topic, Partition(0)) for topic in self.wave.topics)
            },
            groups={
                name: group(
                    source_members=self._runs(self.readers([name]), SOURCE),
                    target_members=self._runs(self.readers([name]), TARGET),
                )
                for name in self.wave.groups
            },
            stragglers=(),
            holds=topics,
            fenced_on_source=topics,
            fenced_on_target=topics,
            is_lease_held=True,
            do_rates_agree=True,
        )

    def _runs(self, names: Iterable[str], side: Side) -> int:
        return sum(side in self.places[name] for name in names)


def is_wrong(world: CutoverWorld) -> list[str]:
    """Writers that are where nobody may write now: on a side that is not theirs at this step."""
    if world.cutover.phase is not Phase.WAITING or world.cutover.way is Way.BACK:
        return []
    allowed: Mapping[str, set[Side]] = {
        "source": {SOURCE},
        "nobody": set(),
        "target": {TARGET},
        "both": {SOURCE, TARGET},
    }
    return [
        f"{name} writes {topic} on {sorted(map(str, world.places[name]))} at {world.cutover.at.step.name}"
        for name, writes in world._writes.items()
        for topic in writes
        if world.places[name] - allowed[world.cutover.writers_of(topic).value]  # type: ignore[arg-type]
    ]
