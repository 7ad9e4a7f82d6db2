"""What waits for a broker that is silent ends when its cord is cut, and opens nothing more."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.cord import Cord, current_cord, working_on
from kmigrate.errors import ClusterError, CutOff, KmigrateError
from tests.unit.cluster.silent_broker import SilentBroker


@pytest.fixture
def broker() -> Iterator[SilentBroker]:
    with SilentBroker() as made:
        yield made


class Asking:
    """Asks a broker from a thread of its own; again and again where a cluster fails, as those do who wait for it."""

    def __init__(self, client: ClusterClient, cord: Cord) -> None:
        self.ended: list[KmigrateError] = []
        self.failures = 0
        self._client, self._cord = client, cord
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with working_on(self._cord):
            while self.failures < 100:
                try:
                    self._client.metadata([])
                except ClusterError:
                    self.failures += 1
                except CutOff as error:
                    self.ended.append(error)
                    return


def test_who_waits_for_an_answer_ends_when_the_cord_is_cut(broker: SilentBroker) -> None:
    cord = Cord()
    asking = Asking(broker.client(), cord)
    broker.wait_for_a_request()
    cord.cut()
    asking.thread.join(30.0)
    assert len(asking.ended) == 1, "it waits on, or tries again for ever"
    assert asking.failures <= 1


def test_what_hangs_on_another_cord_goes_on(broker: SilentBroker) -> None:
    one, other = Cord(), Cord()
    asking = Asking(broker.client(), other)
    broker.wait_for_a_request()
    one.cut()
    asking.thread.join(0.2)
    assert asking.thread.is_alive()
    other.cut()
    asking.thread.join(30.0)
    assert not asking.thread.is_alive()


def test_nothing_is_opened_on_a_cord_that_is_cut(broker: SilentBroker) -> None:
    cord = Cord()
    cord.cut()
    with working_on(cord), pytest.raises(CutOff):
        broker.client().metadata([])
    assert broker.accepted == 0
    assert current_cord() is None


def test_a_cord_keeps_nothing_that_nobody_else_needs() -> None:
    class Held:
        def sever(self) -> None:
            raise AssertionError("it is gone")

    cord = Cord()
    cord.hold(Held())
    gc.collect()
    cord.cut()
