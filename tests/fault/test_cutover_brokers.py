"""A broker dies at any step of any scheme, on either side, and comes back; and at another one again: the wave ends, and
nothing is lost.

Each side has one broker, so that all of it is gone at once: leaders, coordinators, the controller.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kmigrate.api.client import Client
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Side
from kmigrate.runner.folder import MigrationFolder
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.cutover_matrix import Course, Place, far_apart, is_order_kept, places
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import new_topic_name
from tests.scenario.leading import Lead, Operator, Service, running
from tests.scenario.relaying import make_service

pytestmark = pytest.mark.broker

CELLS = [(there, side) for there in far_apart(places()) for side in Side]
BROKER = 1
LOOK_SECONDS = 0.02
"""No step is over sooner than that: each of its effects takes the leader a turn."""
CLUSTERS_AWAY = (0, 1, 4)
"""How a command may end that needs both clusters."""
Pair = tuple[EmbeddedCluster, EmbeddedCluster]


class Killer:
    """Watches a wave, kills a broker whenever it comes to one of some steps, and starts it again; a context manager."""

    def __init__(
        self, lead: Lead, places: Sequence[Place], cluster: EmbeddedCluster, *, away_seconds: Callable[[], float]
    ) -> None:
        self._client = Client(MigrationFolder(lead.migration.state_root, lead.migration.name), start_seconds=0.0)
        self._cluster, self._away_seconds = cluster, away_seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.left = list(places)
        """Those it has not come to."""
        self.wordless: list[Mapping[str, Any]] = []
        """What `status` said where it did not tell where it stands, or what is to be done."""

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            with contextlib.suppress(KmigrateError):
                wave = self._client.cutover().to_value()["waves"][0]
                words = [wave["sentence"], wave["who"], wave["todo"], wave["undo"]]
                if not all(words) or "unknown" in " ".join(words).lower():
                    self.wordless.append(wave)
                here = next((each for each in self.left if _is_there(wave, each)), None)
                if here is not None:
                    self._cluster.kill(BROKER)
                    self.left.remove(here)
                    self._ending.wait(self._away_seconds())
                    self._cluster.start_node(BROKER)


def _is_there(wave: Mapping[str, Any], place: Place) -> bool:
    return wave["step"]["name"] == place.step and (wave["way"] == "back") is (place.course is Course.BACK)


@pytest.fixture(scope="module")
def _fragile(request: pytest.FixtureRequest) -> Iterator[Pair]:
    failures = request.session.testsfailed
    clusters = EmbeddedCluster(SOURCE_VERSION), EmbeddedCluster(TARGET_VERSION)
    try:
        for cluster in clusters:
            cluster.start()
        yield clusters
    finally:
        for cluster in clusters:
            cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def service(_fragile: Pair, cell: Cell) -> Iterator[Service]:
    for cluster in _fragile:
        heal(cluster)
    with running(make_service(*_fragile, has_application=cell.pick(CELLS)[0][0].story.has_application)) as made:
        yield made


@cells(long=len(CELLS), sample=1)
def test_a_broker_that_dies_at_steps_delays_them(cell: Cell, tmp_path: Path, service: Service) -> None:
    there, side = cell.pick(CELLS)
    story, course, _ = there[0]
    cell.note("cutover", [{**place.named(), "fault": f"the {side}'s broker dies"} for place in there])
    quick = {"stillSeconds": 3}
    spec = {**story.spec(), **service.spec(), "cutover": quick}
    migration = Migration(
        tmp_path, service.source, service.target, service.topics, name=new_topic_name("broken"), spec=spec
    )
    victim = service.source if side is Side.SOURCE else service.target
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        operator = Operator(Lead(migration), service, hesitate=lambda: cell.chance.uniform(0.0, 1.0))
        operator.may_fail = CLUSTERS_AWAY
        with Killer(operator.lead, there, victim, away_seconds=lambda: cell.chance.uniform(0.0, 3.0)) as killer:
            begun = time.monotonic()
            if course is Course.BACK:
                operator.roll_back()
            else:
                operator.finish()
            cell.note("seconds_to_the_end", round(time.monotonic() - begun, 1))
        assert not killer.left, f"never seen: {', '.join(place.step for place in killer.left)}"
        assert not killer.wordless, killer.wordless[0]
        service.judge(in_order=is_order_kept(story))
        wait_until("the hold is lifted", lambda: migration.status()["held"] == [], evidence=migration.evidence)
        cell.note("records", len(service.writer.acknowledged))
