"""What all tests share: the seed of this run, and real clusters that start when first asked for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from kmigrate.demo.embedded import EmbeddedCluster

OLD_VERSION = "2.8.2"
"""With ZooKeeper; it keeps every message format there ever was."""
SOURCE_VERSION = "3.9.1"
TARGET_VERSION = "4.3.1"
SEED_VARIABLE = "KMIGRATE_SEED"

settings.register_profile("no test asserts a duration", deadline=None)
settings.load_profile("no test asserts a duration")

SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))


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


@pytest.fixture
def start_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., EmbeddedCluster]]:
    """Starts clusters of the test's own, which it may hurt; they end with the test."""
    failures = request.session.testsfailed
    started: list[EmbeddedCluster] = []

    def start(version: str, **options: object) -> EmbeddedCluster:
        cluster = EmbeddedCluster(version, **options)  # type: ignore[arg-type]
        started.append(cluster)
        return cluster.start()

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
