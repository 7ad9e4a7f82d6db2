"""What all tests share: the seed of this run, and real clusters that start when first asked for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings

from kmigrate.demo.embedded import EmbeddedCluster
from tests.secured.certificates import Authority
from tests.secured.cluster import Security, make_users
from tests.secured.granted import Guarded
from tests.secured.pair import Pair

OLD_VERSION = "2.8.2"
"""With ZooKeeper; it keeps every message format there ever was."""
SOURCE_VERSION = "3.9.1"
TARGET_VERSION = "4.3.1"
SEED_VARIABLE = "KMIGRATE_SEED"

settings.register_profile("no test asserts a duration", deadline=None)
settings.load_profile("no test asserts a duration")

SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))
os.environ[SEED_VARIABLE] = str(SEED)  # processes that share this run's tests choose the same ones


def pytest_report_header() -> str:
    return f"seed: {SEED} (repeat with {SEED_VARIABLE}={SEED})"


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of this test run; the header names it."""
    return SEED


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """A source of samples that depends on the seed and the test's name, not on the order of tests."""
    return random.Random(f"{SEED}/{request.node.nodeid}")


@pytest.fixture(scope="session")
def source_cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """A single broker of the source's release, shared: make topics of your own, and do not hurt it."""
    with _shared_cluster(request, SOURCE_VERSION) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def target_cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """A single broker of the target's release, shared: make topics of your own, and do not hurt it."""
    with _shared_cluster(request, TARGET_VERSION) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def old_cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """A single broker of the oldest release, shared: make topics of your own, and do not hurt it."""
    with _shared_cluster(request, OLD_VERSION) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A secured source and target, shared, whose user `copier` has no right but those that a test grants it."""
    failures = request.session.testsfailed
    folder = tmp_path_factory.mktemp("guarded")
    security = Security(authority=Authority(folder / "ca"), authorizer=True)
    pair = Pair(folder, security, SOURCE_VERSION, TARGET_VERSION)
    try:
        pair.start()
        yield Guarded(pair)
    finally:
        pair.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def start_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., EmbeddedCluster]]:
    """Starts clusters of the test's own, which it may hurt; they end with the test.

    With `security=` (`tests.secured.cluster.Security`) they have secured listeners, and its users.
    """
    failures = request.session.testsfailed
    started: list[EmbeddedCluster] = []

    def start(version: str, *, security: Security | None = None, **options: Any) -> EmbeddedCluster:
        if security is not None:
            options = {"listeners": security.listeners, "hosts": security.hosts} | options
            options["properties"] = security.properties(version) | options.get("properties", {})
        cluster = EmbeddedCluster(version, **options)
        started.append(cluster)
        cluster.start()
        if security is not None:
            make_users(cluster)
        return cluster

    yield start
    failed = request.session.testsfailed > failures
    for cluster in started:
        cluster.close(failed=failed)


@contextmanager
def _shared_cluster(request: pytest.FixtureRequest, version: str) -> Iterator[EmbeddedCluster]:
    failures = request.session.testsfailed
    cluster = EmbeddedCluster(version).start()
    try:
        yield cluster
    finally:
        cluster.close(failed=request.session.testsfailed > failures)
