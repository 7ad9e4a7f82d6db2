"""Records of last month: the target forgets our producer id at every check, so that the sequence guards nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.harness import Migration, Witness, wait_until
from tests.fault.load import Load
from tests.fault.probe import look
from tests.kafka_tools import create_topic
from tests.tcp_proxy import PRODUCE, Request, TcpProxy

pytestmark = pytest.mark.broker

PARTITIONS = 6
AGE_SECONDS = 30 * 24 * 3600


class Forgetful(NamedTuple):
    """A broker that looks every second for producer ids to forget, behind a proxy."""

    cluster: EmbeddedCluster
    proxy: TcpProxy


@pytest.fixture(scope="module")
def _forgetful(request: pytest.FixtureRequest) -> Iterator[Forgetful]:
    failures = request.session.testsfailed
    with TcpProxy() as proxy:
        cluster = EmbeddedCluster(
            TARGET_VERSION,
            properties={"producer.id.expiration.check.interval.ms": "1000"},
            advertised={1: proxy.port},
        )
        try:
            cluster.start()
            proxy.forward_to(cluster.port(1))
            yield Forgetful(cluster, proxy)
        finally:
            cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def forgetful(_forgetful: Forgetful) -> Forgetful:
    heal(_forgetful.cluster)
    _forgetful.proxy.clear()
    return _forgetful


@cells(long=16, sample=1)
def test_old_records_are_written_once_through_lost_answers_restarts_and_kills(
    cell: Cell, source_cluster: EmbeddedCluster, forgetful: Forgetful, migration: Callable[..., Migration]
) -> None:
    target, proxy = forgetful
    topic = create_topic(source_cluster.bootstrap, partitions=PARTITIONS, config={"retention.ms": "-1"})
    copy = migration(source_cluster, target, [topic], name=topic)
    with Load(source_cluster.bootstrap, [topic], partitions=PARTITIONS, age_seconds=AGE_SECONDS) as load:
        load.wait_for(2_000)
        copy.start()
        copy.wait_for_growth()
        harms = ["lost answer", "restart", "kill"]
        harms = harms[cell.number % 3 :] + harms[: cell.number % 3]
        for harm in harms:
            time.sleep(cell.chance.uniform(0.0, 2.0))
            if harm == "lost answer":
                lost = proxy.cut_after_request(PRODUCE, matching=lambda request: _writes_to(request, topic))
                wait_until("an answer is lost", lambda lost=lost: lost.done, evidence=copy.evidence)
            elif harm == "restart":
                target.kill(1)
                target.start_node(1)
            else:
                copy.kill_owner()
                copy.start()
            copy.wait_for_growth()
        acknowledged = load.stop()
    copy.wait_in_sync()
    wait_until("the target has forgotten our id", lambda: _knows_nobody(target, topic), evidence=copy.evidence)
    copy.stop()
    cell.note("harms", harms)
    cell.note("records", Witness(source_cluster, target).compare(acknowledged, copy.evidence))


def _writes_to(request: Request, topic: str) -> bool:
    return topic.encode() in request.body


def _knows_nobody(target: EmbeddedCluster, topic: str) -> bool:
    views = look(target, topic)
    return len(views) == PARTITIONS and not any(view.our_ids for view in views.values())
