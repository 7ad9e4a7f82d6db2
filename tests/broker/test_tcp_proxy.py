"""Clients go through a proxy that a broker advertises, and see what it does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.kafka_tools import create_topic, produce, read_all
from tests.tcp_proxy import FETCH, PRODUCE, TcpProxy

pytestmark = pytest.mark.broker


@pytest.fixture(params=[SOURCE_VERSION, TARGET_VERSION])
def behind_proxy(
    request: pytest.FixtureRequest, start_cluster: Callable[..., EmbeddedCluster]
) -> Iterator[tuple[EmbeddedCluster, TcpProxy]]:
    with TcpProxy() as proxy:
        cluster = start_cluster(request.param, advertised={1: proxy.port})
        proxy.forward_to(cluster.port(1))
        yield cluster, proxy


def test_a_lost_answer_is_not_a_lost_record(behind_proxy: tuple[EmbeddedCluster, TcpProxy]) -> None:
    cluster, proxy = behind_proxy
    assert cluster.bootstrap == f"127.0.0.1:{proxy.port}"
    topic = create_topic(cluster.direct_bootstrap)
    lost = proxy.cut_after_request(PRODUCE)
    config = {"enable.idempotence": True, "retry.backoff.ms": 10, "log_level": 0}
    assert produce(cluster.bootstrap, topic, [b"once"], config=config) == [(0, 0)]
    assert lost.done == 1
    assert len([each for each in proxy.requests if each.api_key == PRODUCE]) == 2
    assert [record.value for record in read_all(cluster.direct_bootstrap, topic)] == [b"once"]


def test_one_bit_of_a_fetched_batch_is_flipped(behind_proxy: tuple[EmbeddedCluster, TcpProxy]) -> None:
    cluster, proxy = behind_proxy
    topic = create_topic(cluster.direct_bootstrap)
    produce(cluster.direct_bootstrap, topic, [bytes(10_000)])
    flip = proxy.flip_bit_in_response(FETCH, min_size=10_000)
    damaged, whole = (read_all(cluster.bootstrap, topic)[0].value for _ in range(2))
    assert flip.done == 1
    assert damaged is not None
    assert sorted(damaged)[-2:] == [0, 1]
    assert whole == bytes(10_000)


def test_a_held_proxy_stalls_clients(behind_proxy: tuple[EmbeddedCluster, TcpProxy]) -> None:
    cluster, proxy = behind_proxy
    topic = create_topic(cluster.bootstrap)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    producer.list_topics(topic, timeout=30)
    proxy.hold()
    producer.produce(topic, b"later")
    assert producer.flush(0.5) == 1
    proxy.release()
    assert producer.flush(60) == 0
