"""The demo's applications on a real broker, without any migration: stopped, rolled, killed; the verdict is exact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.service.entries import Place
from kmigrate.demo.service.judge import Verdict, judge
from kmigrate.demo.service.plans import MOST_AT_ONCE, Condition, ProducerSpec, ReaderSpec, RelaySpec, ServiceSpec
from kmigrate.demo.service.promise import Promise, broken_by
from kmigrate.demo.service.service import Service
from kmigrate.kafka_types import Side
from tests.kafka_tools import create_topic, new_topic_name, read_all

pytestmark = pytest.mark.broker

SOURCE, TARGET = Side.SOURCE, Side.TARGET
PATIENCE_SECONDS = 120.0
STAYS = Promise(is_moved=False)


@pytest.fixture
def spec(source_cluster: EmbeddedCluster) -> ServiceSpec:
    """Two producers, a group on one topic, a relay to another, and a group that reads what comes out of it."""
    orders, clicks, bills = (create_topic(source_cluster.bootstrap, partitions=3) for _ in range(3))
    shop, billing, audit = (new_topic_name(name) for name in ("shop", "billing", "audit"))
    return ServiceSpec(
        producers=(
            ProducerSpec(name="p1", topics=(orders, clicks), history_records=500),
            ProducerSpec(name="p2", topics=(orders,), records_per_second=200),
        ),
        readers=(
            ReaderSpec(group=shop, topics=(orders, clicks)),
            ReaderSpec(group=audit, topics=(bills,), origins=(orders,), members=1),
        ),
        relays=(RelaySpec(name="billing", group=billing, reads=orders, writes=bills),),
    )


@pytest.fixture
def service(spec: ServiceSpec, source_cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[Service]:
    """Both sides are the same cluster: what moves finds its own commits."""
    address = source_cluster.bootstrap
    with Service(spec, {SOURCE: address, TARGET: address}, tmp_path) as running:
        yield running


def until(what: str, holds: Callable[[], bool], evidence: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not {what}: {evidence()}"
        time.sleep(0.1)


def verdict(service: Service) -> Verdict:
    return judge(service.ledger())


def end_production(service: Service) -> Verdict:
    """Stops what produces and waits until the rest is read."""
    service.stop([each.name for each in service.spec.producers])
    until("all is read", lambda: not verdict(service).lost, lambda: verdict(service))
    service.stop(service.names)
    return verdict(service)


def processed(service: Service, side: Side) -> int:
    return min(each.by_side.get(side, 0) for each in verdict(service).groups)


def test_a_service_that_is_stopped_started_and_rolled_loses_repeats_and_swaps_nothing(
    service: Service, source_cluster: EmbeddedCluster
) -> None:
    service.start(service.names, SOURCE)
    until("under way", lambda: processed(service, SOURCE) > 500, lambda: verdict(service))
    assert all(service.sides(name) == {SOURCE} for name in service.names)

    groups = service.readers(service.spec.groups)
    service.stop(groups, SOURCE)
    stopped_at = time.monotonic_ns()
    assert {service.state(name).conditions[SOURCE] for name in groups} == {Condition.STOPPED}
    until("more is there", lambda: verdict(service).lost > 100, lambda: verdict(service))
    started_at = time.monotonic_ns()
    service.start(groups, TARGET)
    service.roll(service.writers(service.spec.topics), TARGET)
    until("all on the target", lambda: processed(service, TARGET) > 100, lambda: verdict(service))
    assert all(service.sides(name) == {TARGET} for name in service.names)

    found = end_production(service)
    assert list(broken_by(found, Promise())) == [], found
    pause = found.longest_group_pause_seconds
    assert pause >= (started_at - stopped_at) / 1e9, "the groups were away for so long while records were there"
    assert {each.unacknowledged for each in found.groups} == {0}
    for group in found.groups:
        (reader,) = (each for each in service.spec.readers if each.group == group.group)
        written = sum(len(read_all(source_cluster.bootstrap, topic)) for topic in reader.topics)
        assert group.processed == written, "an independent client counts the same"


def test_what_a_killed_member_had_not_committed_is_repeated_and_nothing_else(
    service: Service, spec: ServiceSpec, source_cluster: EmbeddedCluster
) -> None:
    shop = spec.readers[0]
    producers, victim = [each.name for each in spec.producers], shop.names[0]
    service.start(producers, SOURCE)
    ahead: list[Place] = []
    while not ahead:  # it may have been killed right behind a commit
        service.start([victim], SOURCE)
        until("under way", lambda: service.state(victim).progress[SOURCE].done > 300, lambda: service.state(victim))
        service.kill(victim)
        assert service.state(victim).conditions[SOURCE] is Condition.DEAD
        assert not service.sides(victim)
        committed = _committed(source_cluster, shop, partitions=3)
        noted = [each.place for each in service.ledger().processed if each.group == shop.group]
        ahead = [place for place in noted if (place.offset or 0) >= committed[place.topic, place.partition]]
    service.start([name for name in service.names if name not in producers], SOURCE)

    found = end_production(service)
    of_shop = next(each for each in found.groups if each.group == shop.group)
    assert (found.lost, found.out_of_order) == (0, 0), found
    assert of_shop.repeated == found.repeated == len(ahead), found
    assert len(ahead) <= MOST_AT_ONCE
    assert list(broken_by(found, Promise(most_repeated=len(ahead), is_moved=False))) == []
    assert len(list(broken_by(found, Promise(most_repeated=len(ahead) - 1, is_moved=False)))) == 1


def test_what_a_killed_producer_had_sent_is_read_once_known_or_not(
    service: Service, spec: ServiceSpec, source_cluster: EmbeddedCluster
) -> None:
    service.start(service.names, SOURCE)
    until("under way", lambda: processed(service, SOURCE) > 300, lambda: verdict(service))
    service.kill("p2")
    service.start(["p2"], SOURCE)
    before = verdict(service).acknowledged
    until("it writes again", lambda: verdict(service).acknowledged > before + 300, lambda: verdict(service))

    found = end_production(service)
    assert list(broken_by(found, STAYS)) == [], found
    for reader in spec.readers:
        group = next(each for each in found.groups if each.group == reader.group)
        written = sum(len(read_all(source_cluster.bootstrap, topic)) for topic in reader.topics)
        assert group.processed == group.expected + group.unacknowledged == written


def _committed(cluster: EmbeddedCluster, reader: ReaderSpec, *, partitions: int) -> dict[tuple[str, int], int]:
    """What a group has committed; 0 where it has committed nothing."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": reader.group})
    try:
        places = [TopicPartition(topic, number) for topic in reader.topics for number in range(partitions)]
        asked = consumer.committed(places, timeout=PATIENCE_SECONDS)
        return {(each.topic, each.partition): max(each.offset, 0) for each in asked}
    finally:
        consumer.close()
