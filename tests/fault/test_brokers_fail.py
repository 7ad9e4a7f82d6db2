"""Brokers and controllers die, answers are lost, whole clusters go down: the copy waits, and goes on exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.harness import Migration, wait_until
from tests.fault.probe import leaders
from tests.fault.traffic import KINDS, MIXED, PLAIN, make_traffic
from tests.tcp_proxy import PRODUCE, WRITE_TXN_MARKERS, Request, TcpProxy

pytestmark = pytest.mark.broker

PARTITIONS = 6
Pair = tuple[EmbeddedCluster, EmbeddedCluster]


@cells(long=18, sample=2)
def test_a_killed_leader_or_controller_costs_no_record(
    cell: Cell, pair: Pair, migration: Callable[..., Migration]
) -> None:
    source, target = pair
    victim = cell.pick(["source leader", "target leader", "controller"])
    kind = cell.pick(KINDS)
    traffic = make_traffic(kind, source, target, partitions=PARTITIONS, replication=2)
    copy = migration(source, target, traffic.topics, name=traffic.name)
    with traffic.load() as load:
        copy.start()
        copy.wait_for_growth()
        time.sleep(cell.chance.uniform(0.0, 2.0))
        if victim == "controller":
            cluster = cell.chance.choice(pair)
            node = cluster.quorum_ids[0]
        else:
            cluster = source if victim == "source leader" else target
            node = cell.chance.choice(sorted(set(leaders(cluster, traffic.name).values())))
        cluster.kill(node)
        copy.wait_for_growth()
        time.sleep(cell.chance.uniform(0.0, 4.0))
        cluster.start_node(node)
        load.wait_for(4_000)
        load.stop()
    copy.wait_in_sync()
    copy.stop()
    cell.note("victim", f"{victim} {node} of Kafka {cluster.version}")
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(copy.evidence))


class Fragile(NamedTuple):
    """A source and a target of one broker each, the target behind a proxy."""

    source: EmbeddedCluster
    target: EmbeddedCluster
    proxy: TcpProxy


@pytest.fixture(scope="module")
def _fragile(request: pytest.FixtureRequest) -> Iterator[Fragile]:
    failures = request.session.testsfailed
    with TcpProxy() as proxy:
        source = EmbeddedCluster(SOURCE_VERSION)
        target = EmbeddedCluster(TARGET_VERSION, advertised={1: proxy.port})
        try:
            source.start()
            target.start()
            proxy.forward_to(target.port(1))
            yield Fragile(source, target, proxy)
        finally:
            for cluster in (source, target):
                cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def fragile(_fragile: Fragile) -> Fragile:
    for cluster in (_fragile.source, _fragile.target):
        heal(cluster)
    _fragile.proxy.clear()
    return _fragile


@cells(long=10, sample=1)
def test_a_lost_answer_of_the_target_is_not_a_second_append(
    cell: Cell, fragile: Fragile, migration: Callable[..., Migration]
) -> None:
    source, target, proxy = fragile
    kind, api_key = cell.pick([(PLAIN, PRODUCE), (MIXED, PRODUCE), (MIXED, WRITE_TXN_MARKERS)])
    traffic = make_traffic(kind, source, target, partitions=PARTITIONS)
    copy = migration(source, target, traffic.topics, name=traffic.name)
    times = cell.chance.randrange(1, 6)
    with traffic.load() as load:
        copy.start()
        copy.wait_for_growth()
        for _ in range(times):
            lost = proxy.cut_after_request(api_key, matching=lambda request: _writes_to(request, traffic.topics))
            wait_until("an answer is lost", lambda lost=lost: lost.done, evidence=copy.evidence)
        load.wait_for(3_000)
        load.stop()
    copy.wait_in_sync()
    copy.stop()
    cell.note("answers_lost", times)
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(copy.evidence))


@cells(long=6, sample=1)
def test_with_both_clusters_down_it_waits_with_a_reason_and_goes_on(
    cell: Cell, fragile: Fragile, migration: Callable[..., Migration]
) -> None:
    source, target, _ = fragile
    waits = cell.pick([False, True])
    kind = PLAIN  # a killed source without replicas forgets that records were deleted: then it is no longer what it was
    traffic = make_traffic(kind, source, target, partitions=PARTITIONS)
    copy = migration(source, target, traffic.topics, name=traffic.name)
    with traffic.load() as load:
        copy.start()
        copy.wait_for_growth()
        both = [source, target]
        cell.chance.shuffle(both)
        for cluster in both:
            cluster.kill(1)
        document = copy.wait_for_state("WAITING")
        assert document["reason"], copy.evidence()
        time.sleep(cell.chance.uniform(0.0, 15.0) if waits else 0.0)
        for cluster in both:
            cluster.start_node(1)
        copy.wait_for_growth()
        load.wait_for(3_000)
        load.stop()
    copy.wait_in_sync()
    copy.stop()
    cell.note("reason", document["reason"])
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(copy.evidence))


def _writes_to(request: Request, topics: Sequence[str]) -> bool:
    return any(topic.encode() in request.body for topic in topics)
