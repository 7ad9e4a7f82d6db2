"""A frozen follower hides appended records above the high watermark; a copier that resends them writes twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.harness import Migration, Witness, wait_until
from tests.fault.load import Load
from tests.fault.probe import LeaderView, find_coordinator, leaders, look
from tests.kafka_tools import create_topic

pytestmark = pytest.mark.broker

PARTITIONS = 4
HIDDEN_SECONDS = 5.0
"""How long a new copier is given to do the wrong thing; it asks several times a second."""


@pytest.fixture(scope="module")
def _patient_target(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """Two brokers that keep a frozen follower in the in-sync replicas for longer than the test freezes it.

    The lease's group has one replica, so that its coordinator goes on without the follower.
    """
    failures = request.session.testsfailed
    properties = {
        "broker.session.timeout.ms": "60000",
        "replica.lag.time.max.ms": "60000",
        "offsets.topic.replication.factor": "1",
    }
    cluster = EmbeddedCluster(TARGET_VERSION, brokers=2, properties=properties)
    try:
        yield cluster.start()
    finally:
        cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def patient_target(_patient_target: EmbeddedCluster) -> EmbeddedCluster:
    heal(_patient_target)
    return _patient_target


@cells(long=12, sample=1)
def test_hidden_records_are_not_written_again(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    patient_target: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    target = patient_target
    topic = create_topic(source_cluster.bootstrap, partitions=PARTITIONS)
    copy = migration(
        source_cluster,
        target,
        [topic],
        name=topic,
        spec={"replicationFactor": 2, "workers": 2},
        request_timeout_ms=3_000,
    )

    def hidden() -> dict[int, LeaderView]:
        return {number: view for number, view in look(target, topic).items() if view.true_end > view.high_watermark}

    with Load(source_cluster.bootstrap, [topic], partitions=PARTITIONS) as load:
        copy.start()
        copy.wait_for_growth()
        leading = find_coordinator(target, f"kmigrate-{topic}")
        following = next(node for node in target.broker_ids if node != leading)
        target.freeze(following)
        wait_until(
            "the leader holds records above its high watermark",
            lambda: 0 < sum(node == leading for node in leaders(target, topic).values()) == len(hidden()),
            evidence=copy.evidence,
        )
        time.sleep(cell.chance.uniform(0.0, 3.0))
        copy.kill_workers()
        before = _settled(hidden)
        time.sleep(HIDDEN_SECONDS)
        after = hidden()
        assert before, f"nothing is hidden any more\n{copy.evidence()}"
        assert after == before, f"something was written behind hidden records: {before} became {after}"
        target.thaw(following)
        wait_until(
            "what was hidden is visible",
            lambda: _shows_all(look(target, topic), before),
            evidence=copy.evidence,
        )
        target.restart(cell.pick([leading, following]))
        load.wait_for(2_000)
        acknowledged = load.stop()
    copy.wait_in_sync()
    copy.stop()
    cell.note("hidden_records", sum(view.true_end - view.high_watermark for view in before.values()))
    cell.note("records", Witness(source_cluster, target).compare(acknowledged, copy.evidence))


def _settled(hidden: Callable[[], dict[int, LeaderView]]) -> dict[int, LeaderView]:
    """What is hidden, when the last requests of a killed copier have arrived."""
    time.sleep(1.0)
    return hidden()


def _shows_all(now: Mapping[int, LeaderView], before: Mapping[int, LeaderView]) -> bool:
    return all(number in now and now[number].high_watermark >= view.true_end for number, view in before.items())
