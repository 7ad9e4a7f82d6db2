"""kmigrate dies before and after any effect of any scheme, on its way on, back, or where something is taken back: the
next owner goes on, until it dies, too, and nothing is lost or repeated.

The clusters have authorizers, as fences need them; applications are the user `app`, kmigrate is `copier`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from kmigrate.kafka_types import Side
from tests.fault.cells import Cell, cells
from tests.fault.cutover_matrix import Course, in_a_row, is_order_kept, last_frozen_moment, moments
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import new_topic_name
from tests.scenario.leading import Lead, Operator, Service
from tests.scenario.relaying import make_service
from tests.secured.cluster import app_client
from tests.secured.granted import Guarded

pytestmark = pytest.mark.broker

CELLS = in_a_row(moments())
KILLED = -9
LATE = (Course.LATE, Course.LATE_BACK)
FREEZE_SECONDS = 30
"""How long writers wait at most where that is to be too long."""


@pytest.fixture
def service(guarded: Guarded, cell: Cell) -> Iterator[Service]:
    clusters = guarded.clusters[Side.SOURCE], guarded.clusters[Side.TARGET]
    made = make_service(*clusters, has_application=cell.pick(CELLS)[0].story.has_application, client_of=app_client)
    for acls in guarded.acls.values():
        for topic, operation in product(made.topics, (AclOperation.READ, AclOperation.WRITE)):
            acls.allow(operation, ResourceType.TOPIC, topic, principal="User:app")
        for group in made.groups:
            acls.allow(AclOperation.READ, ResourceType.GROUP, group, principal="User:app")
            acls.allow(AclOperation.WRITE, ResourceType.TRANSACTIONAL_ID, group, principal="User:app")
        for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
            acls.allow(AclOperation.ALL, kind, "*")
        acls.allow(AclOperation.ALL, ResourceType.BROKER, "kafka-cluster")
    made.start()
    try:
        yield made
    finally:
        made.close()
        guarded.take_all()


@cells(long=len(CELLS), sample=1)
def test_deaths_in_the_middle_of_steps_are_followed_by_their_end(
    cell: Cell, tmp_path: Path, guarded: Guarded, service: Service
) -> None:
    moments = cell.pick(CELLS)
    story, course, *_ = moments[0]
    is_late = course in LATE
    cell.note("cutover", [{**each.named(), "fault": "kmigrate dies before and after it"} for each in moments])
    deaths = [each.death(when) for each in moments for when in ("before", "after")]
    if is_late:
        deaths.insert(0, last_frozen_moment(moments[0]).death("before"))
    quick = {"stillSeconds": 3} | ({"freezeSeconds": FREEZE_SECONDS} if is_late else {})
    sides = {str(side): {"properties": {"request.timeout.ms": "5000", **guarded.properties(side)}} for side in Side}
    spec = {**sides, **story.spec(), **service.spec(), "fence": "acl", "cutover": quick}
    migration = Migration(
        tmp_path,
        service.source,
        service.target,
        service.topics,
        name=new_topic_name("dies"),
        spec=spec,
        environment={"KMIGRATE_TEST_DEATH": deaths[0]},
    )
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        operator = Operator(Lead(migration), service)
        lead_on = LEADING[course](operator)
        operator.go_through_deaths(
            deaths, lead_on, exit_code=KILLED, between=partial(_wait_too_long, deaths[0] if is_late else "")
        )
        if course is Course.ABORT:
            migration.wait_for_growth()
        service.judge(in_order=is_order_kept(story))
        wanted = list(service.topics) if course is Course.ABORT else []
        wait_until("the hold is as it should be", lambda: migration.status()["held"] == wanted)
        cell.note("records", len(service.writer.acknowledged))


def _wait_too_long(last_in_time: str, death: str) -> None:
    """Nobody runs until writers have waited for too long."""
    if death == last_in_time:
        time.sleep(FREEZE_SECONDS)


LEADING: dict[Course, Callable[[Operator], Callable[[], None]]] = {
    Course.FORWARD: lambda operator: operator.finish,
    Course.LATE: lambda operator: operator.finish,
    Course.ABORT: lambda operator: operator.abort,
    Course.BACK: lambda operator: operator.roll_back,
    Course.LATE_BACK: lambda operator: operator.roll_back,
}
"""Course → how an operator goes it, and goes on where he was."""
