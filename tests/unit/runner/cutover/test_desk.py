"""Commands, facts and effects meet at the desk; what was decided is on the disk before anybody acts on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from kmigrate.errors import GateNotReached, Refused, UsageError
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest.model import Scheme
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.cutover.book import CUTOVER, CutoverBook
from kmigrate.runner.cutover.desk import CommandKind, CutoverDesk, Order
from kmigrate.runner.cutover.document import CutoverDocument
from kmigrate.schemes.cutover import Phase
from kmigrate.schemes.effects import EffectKind, End
from kmigrate.schemes.events import EffectDone, LateChoice
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.order import moves_of
from kmigrate.schemes.wave import Wave
from kmigrate.state.store import Store
from tests.unit.schemes.examples import END, GONE, NOW, ORDERS, ROLLING
from tests.unit.schemes.examples import facts as facts_of

CLEAN = Wave(
    name="clean",
    scheme=Scheme.CONSUMERS_FIRST,
    topics=(ORDERS,),
    groups=("billing",),
    moves=moves_of(Scheme.CONSUMERS_FIRST, [ORDERS], {"billing": [ORDERS]}),
    is_fenced=True,
)
WAVE = CLEAN.name
facts = partial(facts_of, CLEAN)


class World:
    """A desk with an owner that sees what `seen` says, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.seen: WaveFacts | None = facts()
        self.looks = 0
        self.store = Store.open(folder)
        self.desk = self.open()

    def open(self) -> CutoverDesk:
        desk = CutoverDesk("orders", self.store, wall_seconds=lambda: self.now)
        desk.plan([CLEAN])
        desk.attach(self)
        return desk

    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder)
        self.desk = self.open()

    def look_again(self) -> None:
        self.looks += 1
        if self.seen is not None:
            self.desk.see(WAVE, replace(self.seen, at_seconds=self.now))

    def do(self, kind: CommandKind = CommandKind.NEXT, **options: object) -> None:
        self.desk.command(Order(kind=kind, **options))  # type: ignore[arg-type]

    def carry_out(self, *, until: EffectKind | None = None) -> list[EffectKind]:
        """Carries out what is pending, and sees what is there after it; up to just before a kind."""
        done = []
        while (effect := self.desk.next_effect(WAVE)) is not None and effect.kind is not until:
            ends = tuple(End(tp.topic, tp.partition, END) for tp in facts().partitions)
            self.desk.post(WAVE, EffectDone(effect=effect, ends=ends if effect.kind is EffectKind.FREEZE else ()))
            done.append(effect.kind)
        return done

    @property
    def step(self) -> str:
        return self.desk.document(WAVE).waves[0].step.name

    def to_stop_writers(self) -> None:
        self.do()
        self.seen = facts(groups=GONE)
        self.do()
        self.carry_out()
        self.seen = facts(groups=replace(GONE, target_members=1))
        self.do()
        assert self.step == "stop-writers"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_a_command_is_judged_by_what_is_seen_after_it(world: World) -> None:
    world.do()
    assert world.looks == 1
    assert world.step == "stop-readers"


def test_a_closed_gate_is_no_failure_and_changes_nothing(world: World) -> None:
    world.seen = facts(is_in_sync=False)
    with pytest.raises(GateNotReached, match="in-sync"):
        world.do()
    assert world.desk.document().waves[0].begun is False
    assert world.store.journal() == []


def test_nothing_seen_opens_no_gate(world: World) -> None:
    world.seen = None
    with pytest.raises(GateNotReached, match="could not be looked at"):
        world.do()


def test_what_was_seen_before_a_command_decides_nothing(world: World) -> None:
    world.look_again()
    world.seen = None
    world.now += 1
    with pytest.raises(GateNotReached, match="could not be looked at"):
        world.do()


def test_what_is_not_known_opens_no_gate(world: World) -> None:
    world.seen = WaveFacts(at_seconds=NOW)
    with pytest.raises(GateNotReached, match="not known"):
        world.do()


def test_without_an_owner_nothing_is_commanded_and_what_was_is_shown(world: World) -> None:
    world.do()
    world.desk.attach(None)
    with pytest.raises(UsageError, match="no owner"):
        world.do()
    document = world.desk.document()
    assert (document.live, document.waves[0].step.name) == (False, "stop-readers")


def test_of_two_operators_who_saw_the_same_one_wins(world: World) -> None:
    outcomes: list[str] = []

    def press() -> None:
        try:
            world.do(number=0)
        except Refused as error:
            outcomes.append(str(error))
        else:
            outcomes.append("won")

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1] == "won"
    assert "somebody was faster" in sorted(outcomes)[0]


def test_who_comes_second_is_told_so_also_while_nothing_can_be_seen(world: World) -> None:
    world.do(number=0)
    world.seen = None
    world.now += 1
    with pytest.raises(Refused, match="somebody was faster"):
        world.do(number=0)


def test_the_name_is_typed_for_the_step_that_is_left_and_kept_if_a_gate_closes(world: World) -> None:
    world.to_stop_writers()
    with pytest.raises(GateNotReached, match="not approved"):
        world.do()
    world.do(approved=True)
    assert world.step == "stop-writers", "the fence comes first"
    world.carry_out()
    assert world.step == "freeze"
    assert world.desk.document().waves[0].needs_approval is False


def test_where_a_gate_is_closed_it_is_said_what_was_taken_and_that_nothing_was_done(world: World) -> None:
    world.to_stop_writers()
    world.seen = facts(is_in_sync=False)
    with pytest.raises(GateNotReached, match=r"^nothing was done: .*in-sync"):
        world.do()
    with pytest.raises(GateNotReached, match=r"^it is approved, and nothing else was done: .*in-sync"):
        world.do(approved=True)


def test_every_decision_is_in_the_journal_and_survives_a_restart(world: World) -> None:
    world.to_stop_writers()
    before = world.desk.cutovers()[WAVE]
    entries = [entry for entry in world.store.journal() if entry.kind == CUTOVER]
    assert [entry.detail["number"] for entry in entries] == list(range(before.number, 0, -1))
    world.restart()
    assert replace(world.desk.cutovers()[WAVE], open_since=None) == replace(before, open_since=None)
    world.do(approved=True)


def test_an_effect_that_was_pending_is_pending_after_a_restart(world: World) -> None:
    world.do()
    world.seen = facts(groups=GONE)
    world.do()
    assert world.desk.next_effect(WAVE) is not None
    pending = world.desk.next_effect(WAVE)
    world.restart()
    assert world.desk.next_effect(WAVE) == pending
    assert world.desk.document().waves[0].phase == Phase.ACTING.value


def test_time_passes_while_facts_are_seen(world: World) -> None:
    world.to_stop_writers()
    world.do(approved=True)
    world.carry_out(until=EffectKind.FREEZE)
    assert world.desk.document().waves[0].left_seconds is not None
    world.now += CLEAN.limits.freeze_seconds + 1
    world.look_again()
    assert world.carry_out() == [EffectKind.LIFT_FENCE]
    assert world.step == "stop-writers", "writers are free again"
    assert "not done within" in world.desk.document().waves[0].sentence


def test_a_word_counts_for_its_step_and_is_kept(world: World) -> None:
    world.do(CommandKind.ATTEST)
    assert world.desk.book.attested(WAVE) == {("replicate", "")}
    with pytest.raises(Refused, match="somebody was faster"):
        world.do(CommandKind.ATTEST, number=7)


def test_a_step_that_is_entered_again_asks_for_a_word_again(world: World) -> None:
    world.to_stop_writers()
    world.do(approved=True)
    world.carry_out()
    assert world.step == "freeze"
    world.do(CommandKind.ATTEST)
    assert len(world.desk.book.attested(WAVE)) == 1
    world.do(CommandKind.ABORT)
    world.carry_out()
    world.do(approved=True)
    world.carry_out()
    assert world.step == "freeze"
    assert world.desk.book.attested(WAVE) == frozenset()


def test_an_aborted_cutover_may_begin_anew(world: World) -> None:
    world.do()
    world.do(CommandKind.ABORT)
    world.carry_out()
    assert world.desk.document().waves[0].outcome == "aborted"
    world.desk.plan([CLEAN])
    wave = world.desk.document().waves[0]
    assert (wave.outcome, wave.begun, wave.step.name) == (None, False, "replicate")
    world.do()


def test_late_records_are_not_appended_before_the_end(world: World) -> None:
    with pytest.raises(Refused, match="no record is known to have come late"):
        world.do(late=LateChoice.APPEND)


def test_a_wave_that_has_begun_stays_as_it_began(world: World) -> None:
    world.do()
    world.desk.plan([replace(CLEAN, topics=(TopicName("another"),))])
    assert world.desk.cutovers()[WAVE].wave == CLEAN
    world.desk.plan([])
    assert WAVE in world.desk.cutovers()


def test_a_wave_is_named_where_there_are_several(world: World) -> None:
    world.desk.plan([CLEAN, replace(ROLLING, name="second")])
    with pytest.raises(UsageError, match="which wave"):
        world.do()
    with pytest.raises(UsageError, match="no wave 'third'"):
        world.do(wave="third")


def test_problems_keep_a_cutover_from_beginning(world: World) -> None:
    world.desk.plan([CLEAN], ["group g reads two waves"])
    with pytest.raises(Refused, match="group g reads two waves"):
        world.do()


def test_no_scheme_is_no_cutover(world: World) -> None:
    world.desk.plan([])
    with pytest.raises(UsageError, match="no cutover is planned"):
        world.do()


def test_the_document_is_what_it_was_as_json(world: World) -> None:
    world.do()
    document = world.desk.document()
    assert CutoverDocument.from_json(document.to_json()) == document


def test_where_copies_ended_and_what_was_prepared_is_kept(tmp_path: Path) -> None:
    place = TopicPartition(TopicName("orders"), Partition(3))
    store = Store.open(tmp_path)
    book = CutoverBook(store)
    book.record_ended({TopicName("orders"): {place: Ends(Offset(7), Offset(9))}}, 12_345)
    book.record_prepared({"g": {place: Offset(5)}})
    store.close()
    store = Store.open(tmp_path)
    book = CutoverBook(store)
    assert book.ended() == {"orders": {place: Ends(Offset(7), Offset(9))}}
    assert book.ended_ms(TopicName("orders")) == 12_345
    assert book.prepared() == {"g": {place: Offset(5)}}
    book.forget_ended(["orders"])
    book.forget_prepared(["g"])
    assert (book.ended(), book.prepared()) == ({}, {})
    store.close()
