"""Records of last month: the target forgets our producer id at every check, so that the sequence guards nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from kmigrate.copy.identity import producer_id
from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.harness import Migration, wait_until
from tests.fault.probe import look
from tests.fault.traffic import KINDS, make_traffic
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
    kind = cell.pick(KINDS)
    traffic = make_traffic(kind, source_cluster, target, partitions=PARTITIONS, age_seconds=AGE_SECONDS)
    copy = migration(source_cluster, target, traffic.topics, name=traffic.name)
    with traffic.load() as load:
        load.wait_for(2_000)
        copy.start()
        copy.wait_for_growth()
        harms = ["lost answer", "restart", "kill"]
        harms = harms[cell.number % 3 :] + harms[: cell.number % 3]
        for harm in harms:
            time.sleep(cell.chance.uniform(0.0, 2.0))
            if harm == "lost answer":
                lost = proxy.cut_after_request(PRODUCE, matching=lambda request: _writes_to(request, traffic.topics))
                wait_until("an answer is lost", lambda lost=lost: lost.done, evidence=copy.evidence)
            elif harm == "restart":
                target.kill(1)
                target.start_node(1)
            else:
                copy.kill_owner()
                copy.start()
            copy.wait_for_growth()
        load.stop()
    copy.wait_in_sync()
    wait_until("the target has forgotten our id", lambda: _has_forgotten(copy), evidence=copy.evidence)
    copy.stop()
    cell.note("harms", harms)
    cell.note("traffic", kind)
    cell.note("records", traffic.judge(copy.evidence))


def _writes_to(request: Request, topics: Sequence[str]) -> bool:
    return any(topic.encode() in request.body for topic in topics)


def _has_forgotten(copy: Migration) -> bool:
    """Markers and filler have ids of their own, and are as old as the copy is."""
    ours = producer_id(copy.source.cluster_id, copy.target.cluster_id, copy.name)
    views = [view for topic in copy.topics for view in look(copy.target, topic).values()]
    return len(views) == PARTITIONS and not any(ours in view.our_ids for view in views)
