"""kmigrate dies before or after any effect of a scheme: the next owner goes on, and nothing is lost or repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import new_topic_name
from tests.scenario.leading import Lead, Operator, Service

pytestmark = pytest.mark.broker

EFFECTS = {
    "consumers-first": ("capture-commits", "freeze", "copy-tail", "verify-tail", "end-copy", "lift-holds", "promote"),
    "consumers-first overlap": ("end-copy", "promote", "open-overlap", "close-overlap"),
    "producers-first": ("end-group-sync", "end-copy", "lift-holds", "promote", "prepare-groups"),
}
"""Scheme, and its ending → the effects that it carries out without a fence and a way back."""
DEATHS = [
    (scheme, f"{when} {effect}")
    for scheme, effects in EFFECTS.items()
    for effect in effects
    for when in ("before", "after")
]
KILLED = -9
QUICK = {"cutover": {"stillSeconds": 3}}


@pytest.fixture
def service(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Service]:
    made = Service(source_cluster, target_cluster)
    made.start()
    try:
        yield made
    finally:
        made.close()


@cells(long=len(DEATHS), sample=2)
def test_a_death_in_the_middle_of_a_step_is_followed_by_its_end(cell: Cell, tmp_path: Path, service: Service) -> None:
    scheme, moment = cell.pick(DEATHS)
    cell.note("death", f"{scheme}: {moment}")
    scheme, *ending = scheme.split()
    spec = {"scheme": scheme, "groups": {"include": [service.group]}, "wayBack": False, **QUICK}
    if ending:
        spec["ending"] = ending[0]
    migration = Migration(
        tmp_path,
        service.source,
        service.target,
        [service.topic],
        name=new_topic_name("dies"),
        spec=spec,
        environment={"KMIGRATE_TEST_DEATH": moment},
    )
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        operator = Operator(Lead(migration), service)
        operator.go_on_through_a_death(KILLED)
        wave = operator.lead.status()
        assert wave["outcome"] == "finished", operator.lead.evidence()
        service.judge(in_order=not ending)
        wait_until("the hold is lifted", lambda: migration.status()["held"] == [])
        cell.note("records", len(service.writer.acknowledged))
