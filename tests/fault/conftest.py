"""What fault tests share: cells, migrations that end with their test, and clusters that may be hurt and are healed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.kafka_node import NodeState
from tests.conftest import SEED, SOURCE_VERSION, TARGET_VERSION
from tests.fault.cells import ALONE, Cell, choose_numbers, make_cell
from tests.fault.harness import Migration, closing_all
from tests.scenario.leading import Service, running

StartMigration = Callable[..., Migration]
WORKERS = ("auto", "auto", 2)
LANES = ("auto", 1, 2, 3)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cells(long, sample): how many cells a fault test has, and how many a sample")
    config.addinivalue_line("markers", f"{ALONE}: the long run runs no other cell beside those of this test")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("cells")
    if marker is not None:
        test = metafunc.function.__name__
        metafunc.parametrize("cell", choose_numbers(SEED, test, **marker.kwargs), indirect=True)


@pytest.fixture
def cell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Cell:
    """The cell that runs: its number, and chance that follows from it and the seed."""
    return make_cell(SEED, request.function.__name__, request.param, record_property)


@pytest.fixture
def migration(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartMigration]:
    """Makes migrations (`Migration`'s arguments without the folder) which end with the test.

    How many workers and lanes they have follows from the seed and the test.
    """
    made: list[Migration] = []
    chance = random.Random(f"{SEED} {request.node.name}")
    crew = {"workers": chance.choice(WORKERS), "lanes": chance.choice(LANES)}

    def make(*arguments: object, spec: Mapping[str, object] | None = None, **options: object) -> Migration:
        made.append(Migration(tmp_path, *arguments, spec=crew | dict(spec or {}), **options))  # type: ignore[arg-type]
        return made[-1]

    with closing_all(made):
        yield make


@pytest.fixture
def service(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Service]:
    """A writer and a reader that run on the source."""
    with running(Service(source_cluster, target_cluster)) as made:
        yield made


@pytest.fixture(scope="session")
def _pair(request: pytest.FixtureRequest) -> Iterator[tuple[EmbeddedCluster, EmbeddedCluster]]:
    failures = request.session.testsfailed
    clusters = [EmbeddedCluster(version, brokers=2) for version in (SOURCE_VERSION, TARGET_VERSION)]
    try:
        for cluster in clusters:
            cluster.start()
        yield clusters[0], clusters[1]
    finally:
        for cluster in clusters:
            cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def pair(_pair: tuple[EmbeddedCluster, EmbeddedCluster]) -> tuple[EmbeddedCluster, EmbeddedCluster]:
    """Source and target of two brokers and a controller each, shared: hurt them, they are healed before each test."""
    for cluster in _pair:
        heal(cluster)
    return _pair


def heal(cluster: EmbeddedCluster) -> None:
    """Thaws what is frozen and starts what is down."""
    for node in sorted({*cluster.broker_ids, *cluster.quorum_ids}, reverse=True):  # controllers first
        if cluster.state(node) is NodeState.FROZEN:
            cluster.thaw(node)
        elif cluster.state(node) is NodeState.DOWN:
            cluster.start_node(node, wait=False)
    cluster.wait_until_ready()
