"""Two copiers of one migration, by mistake: one loses, and nothing is written twice.

Without the lease that holds for data only: markers are guarded by nothing else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.cells import Cell, cells
from tests.fault.harness import REFUSED, Migration, Witness, wait_until
from tests.fault.load import Load
from tests.fault.probe import committed
from tests.fault.traffic import KINDS, make_traffic
from tests.kafka_tools import create_topic

pytestmark = pytest.mark.broker

PARTITIONS = 6
SESSION_SECONDS = 10.0
"""The session of the lease: a frozen holder is dropped after it."""


@cells(long=15, sample=1)
def test_of_two_copiers_started_at_once_one_is_refused(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    kind = cell.pick(KINDS)
    traffic = make_traffic(kind, source_cluster, target_cluster, partitions=PARTITIONS)
    both = [
        migration(source_cluster, target_cluster, traffic.topics, name=traffic.name, state=state)
        for state in ("one", "two")
    ]
    with traffic.load() as load:
        for copy in both:
            copy.start()
            time.sleep(cell.pick([0.0, cell.chance.uniform(0.0, 0.5), cell.chance.uniform(0.0, 5.0)]))
        evidence = _evidence_of(both)
        wait_until("one of them ends", lambda: any(copy.exit_code is not None for copy in both), evidence=evidence)
        loser, winner = sorted(both, key=lambda copy: copy.exit_code is None)
        assert loser.exit_code == REFUSED, evidence()
        _assert_names_the_holder(loser, winner)
        load.wait_for(3_000)
        load.stop()
    winner.wait_in_sync()
    winner.stop()
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(evidence))


@cells(long=15, sample=1)
def test_a_copier_that_was_frozen_finds_another_in_its_place(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    kind, what = cell.pick(list(itertools.product(KINDS, ["owner and workers", "owner"])))
    traffic = make_traffic(kind, source_cluster, target_cluster, partitions=PARTITIONS)
    sleeper, other = (
        migration(source_cluster, target_cluster, traffic.topics, name=traffic.name, state=state)
        for state in ("sleeper", "other")
    )
    evidence = _evidence_of([sleeper, other])
    with traffic.load() as load:
        sleeper.start()
        sleeper.wait_for_growth()
        wait_until(
            "the target knows whose copy each partition is",  # else the other, with a state of its own, cannot know it
            lambda: len(committed(target_cluster, f"kmigrate-{traffic.name}")) == PARTITIONS,
            evidence=evidence,
        )
        time.sleep(cell.chance.uniform(0.0, 1.0))
        sleeper.freeze(workers=what != "owner")
        other.start()
        other.wait_for_state("RUNNING", "IN_SYNC")
        other.wait_for_growth()
        time.sleep(cell.chance.uniform(0.0, 1.0))
        sleeper.thaw()
        assert sleeper.wait_for_exit() == REFUSED, evidence()
        assert other.exit_code is None, evidence()
        load.wait_for(2_000)
        load.stop()
    other.wait_in_sync()
    other.stop()
    cell.note("frozen", what)
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(evidence))


@cells(long=20, sample=1)
def test_without_the_lease_two_copiers_of_new_records_write_everything_once(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=PARTITIONS)
    one, two = (
        migration(source_cluster, target_cluster, [topic], name=topic, state=state, lease=False)
        for state in ("one", "two")
    )
    evidence = _evidence_of([one, two])
    frozen = cell.pick([False, True])
    with Load(source_cluster.bootstrap, [topic], partitions=PARTITIONS) as load:
        one.start()
        two.start()
        for copy in (one, two):
            copy.wait_for_state("RUNNING", "IN_SYNC", "WAITING")
            wait_until("its worker lives", copy.worker_pids, evidence=copy.evidence)
        time.sleep(cell.chance.uniform(0.5, 4.0))
        if frozen:
            one.freeze()
            two.wait_for_growth()
            time.sleep(cell.chance.uniform(0.0, 4.0))
            one.thaw()
        load.wait_for(6_000)
        two.kill_owner()
        one.wait_for_growth()
        acknowledged = load.stop()
    one.wait_in_sync()
    one.stop()
    cell.note("frozen", frozen)
    cell.note("records", Witness(source_cluster, target_cluster).compare(acknowledged, evidence))


def test_a_state_folder_has_one_owner(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=1)
    first, second = (migration(source_cluster, target_cluster, [topic], name=topic) for _ in range(2))
    first.start()
    first.wait_in_sync()
    messages = len(second.messages())
    second.start()
    assert second.wait_for_exit() == REFUSED, second.evidence()
    assert f"process {first.pid} on " in second.messages()[messages:]
    assert first.status()["state"] == "IN_SYNC"
    first.stop()


def _evidence_of(migrations: list[Migration]) -> Callable[[], str]:
    return lambda: "\n".join(each.evidence() for each in migrations)


def _assert_names_the_holder(loser: Migration, winner: Migration) -> None:
    said = loser.messages()
    assert f"{winner.pid}" in said, f"the refused copier does not name the other one:\n{said}"
