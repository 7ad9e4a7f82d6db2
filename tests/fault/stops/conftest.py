"""What the tests of stops share: a source behind a proxy that changes batches, with an eager log cleaner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.stops.rights import AUTHORIZER, OUTSIDE
from tests.fault.stops.tampering import TamperingProxy
from tests.tcp_proxy import TcpProxy


class ProxiedSource(NamedTuple):
    """A broker of the source's release that advertises the proxy."""

    cluster: EmbeddedCluster
    proxy: TamperingProxy


@pytest.fixture(scope="package")
def _proxied_source(request: pytest.FixtureRequest) -> Iterator[ProxiedSource]:
    failures = request.session.testsfailed
    with TamperingProxy() as proxy:
        properties = {"log.cleaner.backoff.ms": "200"}
        cluster = EmbeddedCluster(SOURCE_VERSION, advertised={1: proxy.port}, properties=properties)
        try:
            cluster.start()
            proxy.forward_to(cluster.port(1))
            yield ProxiedSource(cluster, proxy)
        finally:
            cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def proxied_source(_proxied_source: ProxiedSource) -> ProxiedSource:
    """A source of one broker behind a proxy, shared: the proxy changes nothing at the beginning of a test."""
    _proxied_source.proxy.heal()
    return _proxied_source


@pytest.fixture
def guarded_target(start_cluster: Callable[..., EmbeddedCluster]) -> Iterator[EmbeddedCluster]:
    """A broker with an authorizer that sees the clients of its listener come from outside."""
    with TcpProxy(comes_from=OUTSIDE) as proxy:
        cluster = start_cluster(TARGET_VERSION, advertised={1: proxy.port}, properties=AUTHORIZER)
        proxy.forward_to(cluster.port(1))
        yield cluster
