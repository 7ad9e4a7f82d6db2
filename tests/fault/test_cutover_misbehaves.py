"""Applications that do not do as they are told are noticed and named, and once they do the wave comes to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.cells import Cell, cells
from tests.fault.cutover_matrix import Course, Story, is_order_kept, places, stories
from tests.fault.harness import Migration, closing_all, log_ends, wait_until
from tests.kafka_tools import delete_records, new_topic_name
from tests.scenario.leading import Lead, Operator, Service, Writer

pytestmark = pytest.mark.broker

FREEZE_SECONDS = 12
FIRST_OF_OTHERS = 10**9
AFTER_FREEZE = "before copy-tail at freeze"
KILLED = -9


class World(NamedTuple):
    """A service, its operator, and the scheme that it goes by."""

    story: Story
    service: Service
    operator: Operator

    @property
    def lead(self) -> Lead:
        return self.operator.lead

    def refused(self, gate: str, *words: str, command: str = "next") -> None:
        """Waits until the command is refused by this gate, in these words."""

        def look() -> bool:
            code = self.lead.next(command=command)
            said = self.lead.said.stderr
            return code == 5 and gate in said and all(word in said for word in words)

        wait_until(f"{gate} is closed", look, evidence=lambda: f"{self.lead.said.stderr}\n{self.lead.evidence()}")

    def warned(self, *words: str) -> None:
        """Waits until `status` warns in these words."""

        def look() -> bool:
            told = " ".join(self.lead.status()["warnings"])
            return all(word in told for word in words)

        wait_until(f"a warning: {' '.join(words)}", look, evidence=self.lead.evidence)

    def intruder(self, cluster: EmbeddedCluster) -> Writer:
        """Another writer, at work where it should not be."""
        service = self.service
        writer = Writer(service.topic, service.partitions, first=FIRST_OF_OTHERS)
        service.others.append(writer)
        writer.start(cluster)
        wait_until("it writes", lambda: len(writer.acknowledged) > 10)
        return writer


def goes_on_writing(world: World) -> None:
    """A producer does not stop before the freeze: writers are free again by themselves."""
    world.operator.go_on(until="stop-writers")
    world.service.writer.stop()
    other = world.intruder(world.service.source)
    assert world.lead.next() == 0, world.lead.said.stderr
    world.lead.reach("freeze")

    def look() -> str:
        wave = world.lead.status()
        return wave["sentence"] if wave["step"]["name"] == "stop-writers" and wave["phase"] == "waiting" else ""

    told = wait_until("writers are free again", look, evidence=world.lead.evidence)
    assert f"not done within {FREEZE_SECONDS} s" in told
    other.stop()
    world.operator.acts_no_more("stop-writers")
    world.operator.finish()


def writes_once_frozen(world: World) -> None:
    """A producer writes after the ends were recorded, while nobody looks: at once the freeze is taken back."""

    def write(_death: str) -> None:
        world.intruder(world.service.source).stop()

    world.operator.go_through_deaths([AFTER_FREEZE], world.operator.finish, exit_code=KILLED, between=write)
    broken = "the freeze was broken" in world.lead.migration.log()
    assert broken, world.lead.evidence()


def comes_late(world: World) -> None:
    """A producer writes to the source once everything is on the target: its records are told, and listed on command."""
    world.operator.go_on(until="watch")
    other = world.intruder(world.service.source)
    other.stop()
    late = len(other.acknowledged)
    world.service.others.remove(other)
    world.warned("came late to the source")
    world.refused("no-late-records", "late record", "on the source", command="finish")
    wait_until("they can be listed", lambda: world.lead.next("--late", "list") == 0, evidence=world.lead.evidence)
    world.lead.settle()
    assert late > 0
    world.operator.finish()


def comes_late_and_is_appended(world: World) -> None:
    """The same, and the operator has them appended to the target: every group reads each of them there, once."""
    world.operator.go_on(until="watch")
    before = world.lead.status()["lateAppended"]
    other = world.intruder(world.service.source)
    other.stop()
    world.warned("came late to the source")

    def is_taken() -> bool:
        return world.lead.next("--late", "append") == 0

    wait_until("they can be appended", is_taken, evidence=lambda: f"{world.lead.said.stderr}\n{world.lead.evidence()}")
    world.lead.settle()
    assert world.lead.status()["lateAppended"] - before == len(other.acknowledged), world.lead.evidence()
    assert world.lead.next("--late", "append") == 6, "once more there is nothing to append"
    world.operator.finish()


def comes_late_and_is_gone(world: World) -> None:
    """The same, and the source has deleted them before they are appended: that is named, given up on command, and the
    rest is appended."""
    world.operator.go_on(until="watch")
    other = world.intruder(world.service.source)
    other.stop()
    world.warned("came late to the source")
    service, gone = world.service, 0
    ends = log_ends(service.source, [service.topic])
    delete_records(service.source.bootstrap, service.topic, ends[service.topic, gone], gone)
    before = world.lead.status()["lateAppended"]

    def stopped() -> bool:
        world.lead.next("--late", "append")
        told = world.lead.status()["lateStopped"]
        return [each.partition(":")[0] for each in told] == [f"{service.topic}-{gone}"]

    wait_until("it is named", stopped, evidence=world.lead.evidence)
    assert "LATE_SOURCE_TRIMMED" in world.lead.status()["lateStopped"][0]
    wait_until("it is given up", lambda: world.lead.next("--late", "list") == 0, evidence=world.lead.evidence)
    wait_until("the rest is appended", lambda: world.lead.settle()["phase"] == "waiting", evidence=world.lead.evidence)
    other.acknowledged = [number for number in other.acknowledged if number % service.partitions != gone]
    assert world.lead.status()["lateAppended"] - before == len(other.acknowledged) > 0, world.lead.evidence()
    world.operator.finish()


def straggles(world: World) -> None:
    """A producer is left on the source while others are restarted on the target: its partition is named."""
    world.operator.go_on(until="move-writers")
    other = world.intruder(world.service.source)
    world.refused("no-stragglers", "grew on the source", world.service.topic)
    other.stop()
    world.operator.finish()


def starts_too_early(world: World) -> None:
    """A producer writes to the target before anything began: every gate is closed, and it is named."""
    before = world.lead.status()["step"]["name"]
    other = world.intruder(world.service.target)
    other.stop()
    world.service.others.remove(other)
    world.refused("FOREIGN_WRITE")
    assert world.lead.status()["step"]["name"] == before
    world.service.reader.stop()
    world.service.writer.stop()


def reads_on_both_sides(world: World) -> None:
    """A group that was moved has a member on the source again."""
    world.operator.go_on(until="stop-readers")
    world.service.reader.stop()
    world.lead.leave("stop-readers")
    world.service.newer.start(world.service.target)
    world.service.reader.start(world.service.source)
    world.warned("members on both clusters", world.service.group)
    world.refused("gone-from-source", world.service.group)
    world.service.reader.stop()
    world.operator.acts_no_more("stop-readers", "start-readers")
    world.operator.finish()


def reads_too_early(world: World) -> None:
    """A group reads on the target before it has read the source to its end: it is named, and nothing is lost."""
    world.operator.go_on(until="drain")
    world.service.newer.start(world.service.target)
    world.warned("members on both clusters", world.service.group)
    world.refused("no-early-readers", world.service.group)
    world.service.newer.stop()
    world.operator.finish()


def clings(step: str, gate: str) -> Callable[[World], None]:
    """A consumer does not let go of the source at a step."""

    def misbehave(world: World) -> None:
        world.operator.go_on(until=step)
        if step == "move-readers":
            world.service.newer.start(world.service.target)
        world.refused(gate, world.service.group, "1 member ")
        if step == "move-readers":
            world.service.reader.stop()
            world.operator.acts_no_more(step)
        world.operator.finish()

    misbehave.__name__ = f"does_not_let_go_at_{step.replace('-', '_')}"
    return misbehave


class Case(NamedTuple):
    """Who misbehaves, the step that a scheme must have for it, and what is promised nevertheless.

    `once`: no record is read twice. `is_whole`: the wave comes to its end, and every record is read.
    """

    step: str
    misbehave: Callable[[World], None]
    once: bool = True
    is_whole: bool = True


CASES = (
    Case("freeze", goes_on_writing),
    Case("freeze", writes_once_frozen),
    Case("watch", comes_late),
    Case("watch", comes_late_and_is_appended),
    Case("watch", comes_late_and_is_gone),
    Case("move-writers", straggles),
    Case("", starts_too_early, is_whole=False),
    Case("start-readers", reads_on_both_sides, once=False),
    Case("move-readers", reads_too_early, once=False),
    Case("stop-readers", clings("stop-readers", "readers-stopped")),
    Case("move-readers", clings("move-readers", "gone-from-source")),
    Case("stop-old-readers", clings("stop-old-readers", "gone-from-source")),
)
CELLS = [
    (story, case)
    for case in CASES
    for story in stories()
    if case.step in ("", *(place.step for place in places() if place.story == story))
]


@cells(long=len(CELLS), sample=1)
def test_who_misbehaves_is_named_and_nothing_is_lost(cell: Cell, tmp_path: Path, service: Service) -> None:
    story, case = cell.pick(CELLS)
    told = case.misbehave.__name__.replace("_", " ")
    cell.note("cutover", [{"scheme": str(story), "course": Course.FORWARD.value, "step": case.step, "fault": told}])
    quick: dict[str, Any] = {"stillSeconds": 3}
    if case.misbehave is goes_on_writing:
        quick["freezeSeconds"] = FREEZE_SECONDS
    spec = {**story.spec(), "groups": {"include": [service.group]}, "cutover": quick}
    migration = Migration(
        tmp_path,
        service.source,
        service.target,
        [service.topic],
        name=new_topic_name("misled"),
        spec=spec,
        environment={"KMIGRATE_TEST_DEATH": AFTER_FREEZE} if case.misbehave is writes_once_frozen else None,
    )
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        case.misbehave(World(story, service, Operator(Lead(migration), service)))
        if case.is_whole:
            service.judge(in_order=is_order_kept(story) and case.once and not service.others, once=case.once)
            wait_until("the hold is lifted", lambda: migration.status()["held"] == [])
        cell.note("records", len(service.writer.acknowledged))
