"""A frozen follower hides appended records above the high watermark; a copier that resends them writes twice.

Two things were seen on 4.3.1 that make this harder than it looks. ListOffsets does not tell of the hidden records. And
a broker reads a connection's next request only when the last one is answered, so that requests of a copier which was
killed long ago are still appended, one after the other, each when the one before it has timed out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.harness import Migration, Witness, wait_until
from tests.fault.load import Load, Place
from tests.fault.probe import LeaderView, find_coordinator, leaders, look
from tests.fault.traffic import KINDS, make_traffic
from tests.kafka_tools import create_topic

pytestmark = pytest.mark.broker

PARTITIONS = 6
AGE_SECONDS = 30 * 24 * 3600
HIDDEN_SECONDS = 4.0
"""How long a new copier is given to do the wrong thing; it asks several times a second."""

LATE_REQUEST_TIMEOUT_MS = 13_000
"""Two thirds of it pass until an append that waits for a follower times out and the request behind it is read."""
LATE_SECONDS = 11.0
"""Until then, and a bit: a new copier has appended after five quiet seconds, and its id is forgotten after one more."""


@pytest.fixture(scope="module")
def _patient_target(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """Two brokers that keep a frozen follower in the in-sync replicas for longer than the test freezes it."""
    failures = request.session.testsfailed
    properties = {
        "broker.session.timeout.ms": "25000",
        "producer.id.expiration.check.interval.ms": "1000",
        "replica.lag.time.max.ms": "60000",
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


@cells(long=6, sample=1)
def test_old_records_that_come_late_are_not_written_twice(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    patient_target: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    """The late request of a dead copier meets a target that has forgotten the producer id of what it holds."""
    target = patient_target
    partitions = 24  # few records each, so that requests under way are about different ones
    topic = create_topic(source_cluster.bootstrap, partitions=partitions, config={"retention.ms": "-1"})
    copy = migration(
        source_cluster,
        target,
        [topic],
        name=topic,
        spec={"replicationFactor": 2},
        request_timeout_ms=LATE_REQUEST_TIMEOUT_MS,
        lease=False,
    )
    leading, following = cell.pick([target.broker_ids, target.broker_ids[::-1]])
    with Load(source_cluster.bootstrap, [topic], partitions=partitions, rate=400, age_seconds=AGE_SECONDS) as load:
        copy.start()
        copy.wait_for_growth()
        load.wait_for(400)
        target.freeze(following)
        wait_until(
            "the leader holds records above its high watermark",
            lambda: _hidden(target, [topic]),
            evidence=copy.evidence,
        )
        time.sleep(cell.chance.uniform(0.2, 1.0))
        at_kill = _hidden(target, [topic])
        copy.kill_workers()
        time.sleep(LATE_SECONDS)
        target.thaw(following)
        load.wait_for(200)
        acknowledged = load.stop()
    copy.wait_in_sync()
    copy.stop()
    assert at_kill, "nothing was hidden when the copier was killed"
    cell.note("hidden_partitions", len(at_kill))
    cell.note("leader", leading)
    cell.note("records", Witness(source_cluster, target).compare(acknowledged, copy.evidence))


@cells(long=12, sample=1)
def test_hidden_records_are_not_written_again(
    cell: Cell,
    source_cluster: EmbeddedCluster,
    patient_target: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    target = patient_target
    kind, stopped = cell.pick(list(itertools.product(KINDS, ["leader", "follower"])))
    traffic = make_traffic(kind, source_cluster, target, partitions=PARTITIONS)
    topics = traffic.topics
    copy = migration(
        source_cluster,
        target,
        topics,
        name=traffic.name,
        spec={"replicationFactor": 2, "workers": 2},
        request_timeout_ms=3_000,
    )
    with traffic.load() as load:
        copy.start()
        copy.wait_for_state("IN_SYNC")  # every partition gets records all the time now
        leading = find_coordinator(target, f"kmigrate-{copy.name}")
        following = next(node for node in target.broker_ids if node != leading)
        target.freeze(following)
        wait_until(
            "the leader holds records above its high watermark",
            lambda: 0 < _count_led(target, topics, leading) == len(_hidden(target, topics)),
            evidence=copy.evidence,
        )
        time.sleep(cell.chance.uniform(0.0, 2.0))
        copy.kill_workers()
        before = _hidden(target, topics)
        time.sleep(HIDDEN_SECONDS)
        after = _hidden(target, topics)
        assert before, f"nothing was hidden when the copier was killed\n{copy.evidence()}"
        assert after.keys() >= before.keys(), f"the follower did not hide for long enough\n{copy.evidence()}"
        target.thaw(following)
        wait_until(
            "what was hidden is visible",
            lambda: _shows_all(_look(target, topics), before),
            evidence=copy.evidence,
        )
        target.stop(leading if stopped == "leader" else following)  # the other one leads everything now
        load.wait_for(2_000)
        load.stop()
    copy.wait_in_sync()
    copy.stop()
    cell.note("hidden_records", sum(view.true_end - view.high_watermark for view in before.values()))
    cell.note("came_late_records", sum(after[place].true_end - view.true_end for place, view in before.items()))
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(copy.evidence))


def _count_led(target: EmbeddedCluster, topics: Sequence[str], node: int) -> int:
    return sum(leader == node for topic in topics for leader in leaders(target, topic).values())


def _look(target: EmbeddedCluster, topics: Sequence[str]) -> dict[Place, LeaderView]:
    return {(topic, number): view for topic in topics for number, view in look(target, topic).items()}


def _hidden(target: EmbeddedCluster, topics: Sequence[str]) -> dict[Place, LeaderView]:
    return {place: view for place, view in _look(target, topics).items() if view.true_end > view.high_watermark}


def _shows_all(now: Mapping[Place, LeaderView], before: Mapping[Place, LeaderView]) -> bool:
    return all(place in now and now[place].high_watermark >= view.true_end for place, view in before.items())
