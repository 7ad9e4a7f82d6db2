"""A whole cutover in a simulated service: an operator who does what is asked, and sometimes what is not; crashes; time.

Rule: the laws are asked after every decision, and at the end the service itself is asked what every group has read.
Without misbehaving clients nothing is lost or repeated, and the order is kept where the scheme promises it.
"""

from __future__ import annotations

import random
from collections import Counter
from enum import Enum, auto

from kmigrate.kafka_types import Side, TopicName, TopicPartition
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.commands import late_stops
from kmigrate.schemes.cutover import Cutover, Outcome, Phase, Way, begin
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.events import (
    Abort,
    Approve,
    DeadlinePassed,
    EffectDone,
    EffectFailed,
    Event,
    FactsSeen,
    Finish,
    LateChoice,
    Next,
    Refusal,
    RefusalKind,
    RollBack,
    SetAuto,
    SettleLate,
)
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.invariants import broken_by_decision
from kmigrate.schemes.machine import decide, due, resume
from kmigrate.schemes.order import Application, moves_of, wave_problems
from kmigrate.schemes.steps import Writers
from kmigrate.schemes.tables import TABLES
from kmigrate.schemes.telling import tell
from kmigrate.schemes.wave import Ending, History, Wave
from tests.simulation.mover import Mover, NeverSo, NotNow
from tests.simulation.service import SOURCE, TARGET, Group, Origin, Record, Service, Writer

A, B, C = (TopicName(name) for name in "abc")
_LONGEST = 6_000
"""Turns in which a cutover must have come to an end, whatever happened."""


_FINAL = {
    *(EffectKind.PROMOTE, EffectKind.OPEN_OVERLAP, EffectKind.HAND_BACK),
    *(EffectKind.FREEZE, EffectKind.FREEZE_TARGET),
}
"""What must be taken back before writers come back."""
_STOPPING = ("stop-readers", "stop-application", "freeze", "promote")
"""The steps at which a group on neither side is as it should be."""


class Intent(Enum):
    """What the operator wants at the moment."""

    FORWARD = auto()
    ABORT = auto()
    BACK = auto()
    GIVE_UP_BACK = auto()


class Fault(Enum):
    """How clients misbehave."""

    LATE_WRITER = "late writers"
    EARLY_WRITER = "early writers"
    EARLY_READER = "early readers"
    CLINGING_READER = "clinging readers"


class CutoverWorld:
    """One cutover from one seed; `run` raises AssertionError if a law is broken."""

    faults: frozenset[Fault] = frozenset()
    """Which faults may happen."""

    def __init__(self, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self.chance = random.Random(f"cutover {seed}")
        chance = self.chance
        self.scheme, variant = chance.choice(list(TABLES))
        has_application = self.scheme is not Scheme.PRODUCERS_LATER and chance.random() < 0.5
        sizes = {A: chance.choice((1, 2)), B: 1, **({C: 1} if has_application else {})}
        self.service = Service(chance, sizes)
        applications = [Application(name="billing", groups=("billing",), reads=(A,), writes=(C,))] * has_application
        groups = {"shop": (A, B), "audit": tuple(sizes), **({"billing": (A,)} if has_application else {})}
        moves = moves_of(self.scheme, tuple(sizes), groups, applications)
        self.wave = Wave(
            name="all",
            scheme=self.scheme,
            topics=tuple(sizes),
            groups=tuple(groups),
            moves=moves,
            history=variant if isinstance(variant, History) else History.NONE,
            ending=variant if isinstance(variant, Ending) else Ending.CLEAN,
            is_fenced=chance.random() < 0.5,
            has_way_back=chance.random() < 0.85 and variant is not Ending.OVERLAP,
        )
        assert list(wave_problems(self.wave)) == []
        self._make_clients(groups)
        self.mover = Mover(self.service, self.wave, chance)
        self.cutover = begin(self.wave, self.service.now)
        self.journal = [self.cutover.to_value()]
        self.process: Cutover | None = self.cutover
        self.intent = Intent.FORWARD
        self.turns_to_change = chance.choice((10**9, *range(2, 150, 5)))
        self.troubles = {each for each in sorted(self.faults, key=lambda each: each.value) if chance.random() < 0.7}
        self.misbehaved: set[Fault] = set()
        self.has_repeats_excused = False
        self.wants_append = chance.random() < 0.7
        self.turn = 0
        self.seen_facts = self.mover.facts()
        self.undoable: list[tuple[EffectKind, str]] = []
        """What was done and not taken back, the last one last."""
        self.stopped: tuple[dict[str, Side | None], dict[str, set[Side]]] | None = None

    def _make_clients(self, groups: dict[str, tuple[TopicName, ...]]) -> None:
        chance, service = self.chance, self.service
        of_group = {group: move.name for move in self.wave.moves for group in move.groups}
        for name, reads in groups.items():
            places = tuple(tp for tp in service.partitions if tp.topic in reads)
            writes = tuple(tp for tp in service.partitions if tp.topic == C) if name == "billing" else ()
            group = Group(name, of_group[name], places, writes, resets_to_end=chance.random() < 0.5)
            group.position[SOURCE] = dict.fromkeys(places, 0)
            group.committed[SOURCE] = dict.fromkeys(places, 0)
            service.groups[name] = group
        for move in self.wave.moves:
            topics = tuple(topic for topic in move.topics if topic != C)
            if topics:
                service.writers += [Writer(f"w{each}", move.name, topics) for each in range(chance.choice((1, 2, 3)))]
        for _ in range(chance.randrange(6)):
            service.writers_write()
            service.readers_read()

    # -- one run

    def run(self) -> None:
        """From the beginning to the end of the cutover, and to the end of what is to be read."""
        while self.cutover.phase is not Phase.OVER:
            self.turn += 1
            assert self.turn < _LONGEST, f"it does not come to an end: {self._told()}"
            if self.turn > _LONGEST // 4:
                self.troubles = set()  # in the end somebody finds whoever misbehaves
            self.service.now += self.chance.choice((0.2, 0.5, 1.0, 2.0, 5.0, 40.0))
            self._clients()
            self._process()
            self._operator()
        self._settle_down()
        self._judge()
        self._count()

    def _clients(self) -> None:
        if self.chance.random() < 0.7:
            self.service.writers_write()
        self.service.readers_read()
        if self.chance.random() < self.mover.copy_pace:
            self.mover.copy()
        if self.troubles and self.cutover.outcome is None:  # what comes later than `finish` nobody waits for
            self._misbehave()

    def _process(self) -> None:
        """The process looks at facts, posts what is due, and carries out what is pending; or is dead."""
        if self.process is None:
            if self.chance.random() < 0.3:
                loaded = Cutover.from_value(self.journal[-1])
                assert loaded == resume(loaded).cutover
                self.process = self.cutover = loaded
                self.mover.forget()
                self.seen["restarts"] += 1
            return
        is_stale = self.chance.random() < 0.1 and not self.cutover.at.step.is_last
        facts = self.seen_facts = self.seen_facts if is_stale else self.mover.facts()
        self.post(FactsSeen(), facts)
        if self.process is None:
            return
        for event in due(self.cutover, facts, self.service.now):
            if self.process is not None:
                self.post(event, facts)
                self.seen[f"{type(event).__name__}"] += 1
        late = self.cutover.deadline_at is not None and self.service.now >= self.cutover.deadline_at
        assert self.process is None or not late, "frozen past its deadline"
        effect = self.cutover.next_effect if self.process is not None else None
        if effect is not None and self.chance.random() < 0.7:
            self._carry_out(effect, facts)

    def _carry_out(self, effect: Effect, facts: WaveFacts) -> None:
        assert Cutover.from_value(self.journal[-1]).next_effect == effect, f"{effect} is not journaled"
        if self._dies("before an effect"):
            return
        self.seen["effects"] += 1
        self._keep_order(effect)
        if self.chance.random() < 0.03:
            self.post(EffectFailed(effect=effect, reason="no answer in time"), facts)
            return
        try:
            ends = self.mover.carry_out(effect)
            if self.chance.random() < 0.3:
                before = self.mover.snapshot()
                assert (ends, before) == (self.mover.carry_out(effect), self.mover.snapshot()), f"{effect} twice"
                self.seen["effects done twice"] += 1
        except NotNow as error:
            self.post(EffectFailed(effect=effect, reason=str(error)), facts)
            return
        except NeverSo as error:
            self.post(EffectFailed(effect=effect, reason=str(error), is_final=True), facts)
            return
        if not self._dies("after an effect"):
            self.post(EffectDone(effect=effect, ends=ends), facts)

    def _keep_order(self, effect: Effect) -> None:
        """What was done last is taken back first. What was begun counts as done: nobody knows how far it came.

        Only a fence may go before what came after it, if nothing is handed over and no end counts as final any more.
        """
        if effect.undoes is None:
            if effect.undo is not None and (effect.kind, effect.scope) not in self.undoable:
                self.undoable.append((effect.kind, effect.scope))
            return
        place = (effect.undoes, effect.scope)
        if place in self.undoable:
            later = self.undoable[self.undoable.index(place) + 1 :]
            if effect.undoes in _FINAL or effect.kind in (EffectKind.LIFT_FENCE, EffectKind.LIFT_TARGET_FENCE):
                later = [each for each in later if each[0] in _FINAL]
            assert not later, f"{effect} before {later[-1]} is taken back"
            self.undoable.remove(place)

    def _dies(self, when: str) -> bool:
        if self.chance.random() < 0.02:
            self.process = None
            self.seen[f"died {when}"] += 1
            return True
        return False

    def post(self, event: Event, facts: WaveFacts) -> Refusal | None:
        """Lets the machine decide; what it decides is journaled, or lost with the process."""
        now = self.service.now
        decision = decide(self.cutover, event, facts, now)
        if isinstance(decision, Refusal):
            assert decision.told, "a refusal without a reason"
            self.seen[f"refused {decision.kind.value}"] += 1
            return decision
        broken = list(broken_by_decision(self.cutover, decision, now))
        assert broken == [], f"{type(event).__name__}: {broken}, {self._told()}"
        if decision.entry is not None and self._dies("before the journal"):
            return None
        if decision.entry is not None:
            self.journal.append(decision.cutover.to_value())
            if isinstance(event, DeadlinePassed):
                self.seen["freezes taken back"] += 1
            elif decision.cutover.phase is Phase.RETURNING and "freeze was broken" in decision.cutover.trouble:
                self.seen["freezes broken"] += 1
        self.seen["ways back begun"] += decision.cutover.way is Way.BACK and self.cutover.way is Way.FORWARD
        self.cutover = decision.cutover
        self.service.handed_over = self.cutover.promoted_topics
        if self.process is not None:
            self.process = self.cutover
        return None

    # -- the operator

    def _operator(self) -> None:
        if self.process is None or self.chance.random() < 0.3:
            return
        facts = self.seen_facts
        situation = tell(self.cutover, facts, self.service.now)
        assert situation.sentence
        assert situation.todo
        assert "unknown" not in situation.sentence
        assert situation.commands or self.cutover.phase is Phase.OVER
        self.turns_to_change -= 1
        if self.turns_to_change <= 0 and self.intent is Intent.FORWARD:
            self.intent = self.chance.choice((Intent.ABORT, Intent.BACK))
            self.turns_to_change = 10**9
        if self.chance.random() < 0.02:
            self._press_anything(facts)
            return
        if self.cutover.phase is not Phase.WAITING:
            if self.cutover.phase is Phase.RETURNING:
                self._make_way()
            elif self.cutover.trouble and not self._give_up_late(facts) and self.chance.random() < 0.2:
                self._mend(facts)
                self._free_groups()
                self._command(Next, facts)
            return
        match self.intent:
            case Intent.ABORT:
                self._abort(facts)
            case Intent.BACK if self.cutover.way is Way.FORWARD:
                self._roll_back(facts)
            case Intent.GIVE_UP_BACK if self.cutover.way is Way.BACK:
                if self._command(Abort, facts) is not None:
                    self.intent = Intent.FORWARD  # it is done already
            case _:
                if self.intent is Intent.GIVE_UP_BACK:
                    self.intent = Intent.FORWARD
                self._follow(facts)

    def _command(self, kind: type[Next | Approve | Abort | RollBack | Finish], facts: WaveFacts) -> Refusal | None:
        """One command; sometimes two operators give it at once, and one of them is told."""
        seen = self.cutover.number
        refusal = self.post(kind(number=seen), facts)
        if refusal is None and self.process is not None and self.chance.random() < 0.1:
            again = self.post(kind(number=seen), facts)
            assert again is not None
            assert again.kind in (RefusalKind.STALE, RefusalKind.OVER)
            self.seen["two at once"] += 1
        return refusal

    def _press_anything(self, facts: WaveFacts) -> None:
        kind = self.chance.choice((Next, Approve, Finish, SetAuto, SettleLate))
        number = self.cutover.number - self.chance.choice((0, 0, 1, 5))
        if kind is SetAuto:
            self.post(SetAuto(number=number, is_auto=self.chance.random() < 0.5), facts)
        elif kind is SettleLate:
            self.post(SettleLate(number=number, choice=LateChoice.LIST), facts)
        else:
            self._is_finishing(kind) or self.post(kind(number=number), facts)

    def _is_finishing(self, kind: object) -> bool:
        """Nobody types `finish` or approves of it by accident, or there would be nothing left to look at."""
        return self.cutover.at.step.is_last and kind in (Finish, Approve)

    def _follow(self, facts: WaveFacts) -> None:
        """Does what the step asks for, and goes on when everything is there."""
        step, move = self.cutover.at.step, self.cutover.at.move
        groups = [self.service.groups[name] for name in move.groups]
        if (step.is_irreversible or step.asks_ahead) and not self.cutover.is_approved(self.service.now):
            self._command(Approve, facts)
            return
        if self._give_up_late(facts):
            return
        self._let_writers_go_on()
        if self.cutover.way is Way.FORWARD:
            self._go_on_after_way_back()
        match step.name:
            case "stop-writers" | "stop-application":
                self._stop_sometimes(facts, move.name)
                return
            case "start-writers":
                self._move_writers(move.name)
            case "start-application" | "move-application":
                self._move_writers(move.name)
                self._move_groups(groups)
            case "move-writers":
                self._move_writers(move.name, one=True)
            case "stop-old-readers":
                for group in groups:
                    seen = facts.groups.get(group.name)
                    if seen is not None and seen.source_lag:
                        self.service.start(group, SOURCE)  # what came late is read there
                    else:
                        self._leave_source(group)
            case "stop-readers" | "arm":
                for group in groups:
                    self._leave_source(group)
            case "start-readers" | "join-readers":
                for group in groups:
                    self.service.start(group, TARGET)
            case "move-readers":
                self._move_groups(groups)
            case "stop-on-target":
                self._stop_all()
                if self.chance.random() < 0.05:
                    self.intent = Intent.GIVE_UP_BACK
            case "start-on-source":
                self._start_on_source()
            case "watch":
                self._watch(facts)
                return
        self._mend(facts)
        if not step.is_frozen:
            self._command(Next, facts)

    def _stop_sometimes(self, facts: WaveFacts, move: str) -> None:
        """Stops what is to be stopped, then says so."""
        self._mend(facts)
        probe = self.mover.facts(all_known=True)
        topics = self.cutover.at.move.topics
        here = [each for tp, each in probe.partitions.items() if tp.topic in topics]
        is_ready = all(each.is_in_sync and not each.stop for each in here)
        if self.scheme is Scheme.PRODUCERS_FIRST:
            for group in self.service.groups.values():
                if group.move == move and probe.groups[group.name].source_lag:
                    self.service.start(group, SOURCE)
                    is_ready = False
        if is_ready and self.chance.random() < 0.5:
            for writer in self.service.writers:
                if writer.move == move and (not self.wave.is_fenced or self.chance.random() < 0.5):
                    writer.side = None
            for group in self.service.groups.values():
                if group.move == move:
                    self._leave_source(group)
            self._command(Next, facts)

    def _leave_source(self, group: Group) -> None:
        if Fault.CLINGING_READER in self.troubles and self.chance.random() < 0.8:
            self.misbehaved.add(Fault.CLINGING_READER)
            return
        self.service.stop(group, SOURCE)

    def _move_groups(self, groups: list[Group]) -> None:
        for group in groups:
            self._leave_source(group)
            if SOURCE not in group.on:
                self.service.start(group, TARGET)

    def _move_writers(self, move: str, *, one: bool = False) -> None:
        for writer in self.service.writers:
            if writer.move == move and writer.side is not TARGET:
                writer.side = TARGET
                if one:
                    return

    def _let_writers_go_on(self) -> None:
        """What was stopped for a step that was taken back runs again where it belongs."""
        for writer in self.service.writers:
            sides = {self.cutover.writers_of(topic) for topic in writer.topics}
            if writer.side is None and sides == {Writers.SOURCE}:
                writer.side = SOURCE
        for move in self.wave.moves:
            for name in move.groups:
                group = self.service.groups[name]
                is_idle = not group.on and name not in self.mover.prepared and self.cutover.way is Way.FORWARD
                if is_idle and self.cutover.at.step.name not in _STOPPING:
                    self.service.start(group, SOURCE)

    def _watch(self, facts: WaveFacts) -> None:
        self._mend(facts)
        for group in self.service.groups.values():
            self._leave_source(group)
        if any(each.late_records for each in facts.partitions.values()):
            choice = LateChoice.APPEND if self.wants_append else LateChoice.LIST
            if self.post(SettleLate(number=self.cutover.number, choice=choice), facts) is None:
                self.seen[f"late {choice.value}"] += 1
        elif self.chance.random() < 0.2:
            self._command(Finish, facts)

    def _stop_all(self) -> None:
        """Stops everything for the way back, and remembers what ran where."""
        service, promoted = self.service, self.cutover.promoted_topics
        if self.stopped is None:
            self.stopped = (
                {w.name: w.side for w in service.writers},
                {g.name: set(g.on) for g in service.groups.values()},
            )
        for writer in service.writers:
            if set(writer.topics) & promoted:
                writer.side = None
        for group in service.groups.values():
            self._leave_source(group)
            service.stop(group, TARGET)

    def _remember(self) -> None:
        if self.stopped is None:
            sides = {group.name: set(group.on) for group in self.service.groups.values()}
            self.stopped = ({writer.name: writer.side for writer in self.service.writers}, sides)

    def _go_on_after_way_back(self) -> None:
        """A way back was given up, or refused: everything runs again where it ran before."""
        if self.stopped is None:
            return
        writers, groups = self.stopped
        self.stopped = None
        for writer in self.service.writers:
            writer.side = writers[writer.name]
        for name, sides in groups.items():
            for side in sides:
                self.service.start(self.service.groups[name], side)

    def _start_on_source(self) -> None:
        for writer in self.service.writers:
            writer.side = SOURCE
        for group in self.service.groups.values():
            self.service.stop(group, TARGET)
            self.service.start(group, SOURCE)

    def _make_way(self) -> None:
        """Stops what keeps an undo from being carried out."""
        for name in self.mover.prepared:
            group = self.service.groups[name]
            self.service.stop(group, TARGET)
            self.service.stop(group, SOURCE)

    def _free_groups(self) -> None:
        """Stops the groups that what is being done needs without members."""
        effect = self.cutover.next_effect
        if effect is not None and effect.kind in (EffectKind.CAPTURE_COMMITS, EffectKind.PREPARE_GROUPS):
            for name in self.wave.scope(effect.scope).groups:
                group = self.service.groups[name]
                self.service.stop(group, TARGET)
                if effect.kind is EffectKind.CAPTURE_COMMITS:
                    self.service.stop(group, SOURCE)
        elif effect is not None and effect.kind in (EffectKind.COPY_BACK, EffectKind.COMMIT_BACK):
            for group in self.service.groups.values():
                self.service.stop(group, SOURCE)
                self.service.stop(group, TARGET)

    def _give_up_late(self, facts: WaveFacts) -> bool:
        """Lists what cannot be appended, in the end; returns whether that was decided."""
        if not late_stops(facts, self.wave.topics):
            return False
        if self.chance.random() > 0.2:
            return False
        is_taken = self.post(SettleLate(number=self.cutover.number, choice=LateChoice.LIST), facts) is None
        self.seen["late records given up"] += is_taken
        return is_taken

    def _mend(self, facts: WaveFacts) -> None:
        """Looks for who misbehaves, where the gates say so."""
        for group in self.service.groups.values():
            is_early = TARGET in group.on and group.name not in self.mover.prepared
            if is_early and self.chance.random() < 0.3:
                self.service.stop(group, TARGET)
            is_twice = group.on == {SOURCE, TARGET} and self.scheme is not Scheme.PRODUCERS_LATER
            if is_twice and not is_early and self.chance.random() < 0.3:
                self.service.stop(group, SOURCE)
        early = [tp for tp, each in facts.partitions.items() if each.application_records and not self._is_open(tp)]
        if not early or self.chance.random() > 0.3 or self.intent is not Intent.FORWARD:
            return
        self.seen["early writers found"] += 1
        if not self.cutover.promoted_topics:
            self.intent = Intent.ABORT
        elif self.wave.has_way_back and self.cutover.way is Way.FORWARD:
            self.intent = Intent.BACK
        else:
            for tp in early:
                self.mover.recreate(tp)

    def _is_open(self, tp: TopicPartition) -> bool:
        return tp.topic in self.cutover.promoted_topics

    def _abort(self, facts: WaveFacts) -> None:
        if not self.cutover.is_frozen:
            self._remember()
            for writer in self.service.writers:
                if writer.side is TARGET:
                    writer.side = None
            self._make_way()
        refusal = self._command(Abort, facts)
        if refusal is None and self.cutover.way is Way.FORWARD and self.cutover.outcome is Outcome.ABORTED:
            self.stopped = None
        if refusal is not None and refusal.kind is RefusalKind.CLOSED and "records" in refusal.told:
            self._go_on_after_way_back()
            self.intent = Intent.BACK if self.wave.has_way_back else Intent.FORWARD
        elif refusal is not None and (self.cutover.way is Way.BACK or self.cutover.is_mixed):
            self._go_on_after_way_back()
            self.intent = Intent.FORWARD

    def _roll_back(self, facts: WaveFacts) -> None:
        refusal = self._command(RollBack, facts)
        if refusal is None or refusal.kind is RefusalKind.STALE:
            return
        if "way back was planned" in refusal.told or self.cutover.outcome is Outcome.FINISHED:
            self.intent = Intent.FORWARD
        elif not self.cutover.is_frozen and not self.cutover.promoted_topics:
            self.intent = Intent.ABORT
        else:
            self._command(Abort, facts)

    # -- misbehaving clients

    def _misbehave(self) -> None:
        chance, service = self.chance, self.service
        fault = chance.choice(sorted(self.troubles, key=lambda each: each.value))
        if chance.random() > 0.04:
            return
        tp = chance.choice(service.partitions)
        allowed = self.cutover.writers_of(tp.topic)
        group = chance.choice(list(service.groups.values()))
        match fault:
            case Fault.LATE_WRITER if allowed in (Writers.NOBODY, Writers.TARGET) and self.cutover.way is Way.FORWARD:
                if service.write("stray", tp, SOURCE):
                    self._misbehaved(fault)
            case Fault.EARLY_WRITER if allowed in (Writers.SOURCE, Writers.NOBODY):
                if self.cutover.way is Way.FORWARD and service.write("hasty", tp, TARGET):
                    self._misbehaved(fault)
            case Fault.EARLY_READER if group.name not in self.mover.prepared and TARGET not in group.on:
                service.start(group, TARGET)
                self._misbehaved(fault)
            case Fault.CLINGING_READER if group.name in self.mover.prepared and SOURCE not in group.on:
                service.start(group, SOURCE)
                self._misbehaved(fault)

    def _misbehaved(self, fault: Fault) -> None:
        self.misbehaved.add(fault)
        self.seen[fault.value] += 1

    # -- the end

    def _settle_down(self) -> None:
        """Everybody runs where the service is now, and reads what there is."""
        side = TARGET if self.cutover.outcome is Outcome.FINISHED else SOURCE
        other = SOURCE if side is TARGET else TARGET
        fenced = self.service.fenced
        assert fenced == {SOURCE: set(), TARGET: set()}, "a fence outlasts the cutover"
        is_held = self.cutover.outcome is Outcome.ABORTED
        assert self.mover.held == (set(self.wave.topics) if is_held else set()), "holds"
        assert not self.mover.is_reversing
        if self.cutover.outcome is Outcome.ABORTED:
            assert self.mover.copying == (set(self.wave.topics) if self.mover.copies else set()), "the copy goes on"
            assert self.mover.frozen == {}, "no end is final any more"
        for writer in self.service.writers:
            writer.side = side
        self.service.writers_write()
        for group in self.service.groups.values():
            self.service.stop(group, other)
            self.service.start(group, side)
        while sum(self.service.read(group, side, 50) for group in self.service.groups.values()):
            pass

    def _judge(self) -> None:
        service, outcome = self.service, self.cutover.outcome
        excused: set[tuple[TopicPartition, Record]] = set()
        for tp in service.partitions:
            excused |= {(tp, service.logs[SOURCE][tp][at].record) for at in self.mover.listed[tp]}
        there = service.logs[TARGET if outcome is Outcome.FINISHED else SOURCE]
        excused |= {(tp, record) for tp, record in service.foreign if record not in {e.record for e in there[tp]}}
        for group in service.groups.values():
            lost = service.lost(group, excused)
            assert lost == [], f"{outcome}: {lost[:3]} ({len(lost)} in all), {self._told()}"
            repeated = service.repeated(group)
            out_of_order = service.out_of_order(group)
            self.seen["repeated"] += repeated
            self.seen["out of order"] += out_of_order
            if not self.misbehaved:
                was_back = outcome is Outcome.ROLLED_BACK or self.seen["ways back begun"] > 0
                undrained = self.scheme is Scheme.PRODUCERS_LATER and was_back
                told = f"{outcome}: {group.name}, {repeated} repeated, {out_of_order} out of order, {self._told()}"
                assert repeated == 0 or undrained, told
                no_order = self.scheme is Scheme.PRODUCERS_LATER or self.wave.ending is Ending.OVERLAP
                assert out_of_order == 0 or no_order, told

    def _count(self) -> None:
        outcome = self.cutover.outcome
        assert outcome is not None
        variant = self.wave.ending if self.scheme is Scheme.CONSUMERS_FIRST else self.wave.history
        self.seen[f"{self.scheme.value} {variant.value} {outcome.value}"] += 1
        self.seen["late records"] += sum(
            entry.origin is Origin.LATE for log in self.service.logs[TARGET].values() for entry in log
        )
        self.seen["records"] += sum(map(len, self.service.acknowledged.values()))

    def _told(self) -> str:
        situation = tell(self.cutover, self.mover.facts(all_known=True), self.service.now)
        return f"{self.scheme.value} {self.wave.history.value} {self.wave.ending.value}: {situation}"


class MisbehavingWorld(CutoverWorld):
    """The same with clients that come too early, stay too long, and write too late."""

    faults = frozenset(Fault)
