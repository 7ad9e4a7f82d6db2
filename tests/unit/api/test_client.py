"""A command reaches the owner if there is one, and the store if there is none."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.api.client import Client
from kmigrate.api.reads import classes_of
from kmigrate.api.server import ApiServer
from kmigrate.copy.orders import Remembered
from kmigrate.copy.rates import RateLimits
from kmigrate.copy.states import Choice
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.lookup import RUNS_A_PAGE, Lookup, Translation
from kmigrate.runner.status import Flow, MigrationState, StatusDocument, TopicStatus
from kmigrate.state.store import RunsFrom, Store

TOPIC = TopicStatus(topic="orders", partitions=0, flow=Flow(), states={})
DOCUMENT = StatusDocument(name="orders", state=MigrationState.RUNNING, topics=(TOPIC,))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MigrationFolder:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return MigrationFolder(tmp_path / "state", "orders")


@pytest.fixture
def desk(folder: MigrationFolder) -> Iterator[Desk]:
    """The desk of a running owner."""
    with folder.take_ownership() as ownership:
        store = Store.open(folder.path)
        desk = Desk(store, lambda: None)
        with ApiServer(desk, Lookup(store, desk.status), ownership):
            yield desk
        store.close()


def test_the_owner_answers_on_its_private_socket(folder: MigrationFolder, desk: Desk) -> None:
    desk.publish(DOCUMENT)
    client = Client(folder)
    assert client.status() == DOCUMENT
    assert client.reached_owner
    client.pause()
    assert desk.decisions().paused
    client.resume_all()
    client.throttle(7)
    assert desk.decisions().limits.total == 7
    assert stat.S_IMODE(folder.socket_path.stat().st_mode) == 0o600


def test_only_an_owner_serves(folder: MigrationFolder, desk: Desk) -> None:
    assert Client(folder).is_served()


def test_neither_a_command_nor_nobody_serves(folder: MigrationFolder) -> None:
    assert not Client(folder, start_seconds=0).is_served()
    with folder.take_ownership():
        assert not Client(folder, start_seconds=0).is_served()


def test_an_error_of_the_owner_is_raised_here(folder: MigrationFolder, desk: Desk) -> None:
    desk.publish(DOCUMENT)
    with pytest.raises(UsageError, match="no topic 'pay'") as caught:
        Client(folder).answer("pay", None, Choice.RESUME)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_the_client_finds_an_owner_that_was_started_in_another_environment(
    folder: MigrationFolder, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.publish(DOCUMENT)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert Client(folder).status() == DOCUMENT


def test_a_dead_owners_socket_is_replaced_and_the_own_one_removed(folder: MigrationFolder) -> None:
    folder.socket_path.parent.mkdir(mode=0o700)
    folder.socket_path.touch()
    store = Store.open(folder.path)
    with folder.take_ownership() as ownership:
        desk = Desk(store, lambda: None)
        server = ApiServer(desk, Lookup(store, desk.status), ownership)
        with server:
            assert stat.S_ISSOCK(folder.socket_path.stat().st_mode)
            Client(folder).status()
        server.stop()  # once more is fine
        assert not folder.socket_path.exists()
    store.close()


def test_a_migration_that_never_ran_has_not_started(folder: MigrationFolder) -> None:
    client = Client(folder)
    document = client.status()
    assert document.state is MigrationState.NOT_STARTED
    assert str(folder.path) in document.reason
    assert not Store.exists(folder.path)  # a look leaves no trace that a run could take for memory
    with pytest.raises(UsageError, match="has not been started"):
        client.pause()


def test_without_an_owner_the_same_application_answers(folder: MigrationFolder) -> None:
    store = Store.open(folder.path)
    Desk(store, lambda: None, manifest_limits=RateLimits(9)).publish(DOCUMENT)
    store.close()
    client = Client(folder, manifest_limits=RateLimits(9))
    assert client.status().state is MigrationState.ENDED
    assert not client.reached_owner
    client.throttle(5)
    client.pause()
    with pytest.raises(UsageError):
        client.answer("orders", None, Choice.RESUME)
    with folder.take_ownership(patience_seconds=0):
        store = Store.open(folder.path)
        decisions = Desk(store, manifest_limits=RateLimits(9)).decisions()
        store.close()
    assert decisions.paused
    assert decisions.limits.total == 5


def map_orders(store: Store, runs: int) -> None:
    """Partition 0 of orders has that many runs, of two records each."""
    kept = OffsetMap()
    for number in range(runs):
        kept.add(Run(Offset(number * 3), Offset(number * 2)))
    orders_0 = TopicPartition(TopicName("orders"), Partition(0))
    store.decide_classes({orders_0: OffsetClass.MAPPED}, {orders_0: RunsFrom(0, kept.to_bytes())})
    memory = Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(0), Offset(runs * 2))
    store.remember({orders_0: memory})


def test_offset_classes_are_told_with_and_without_an_owner(folder: MigrationFolder) -> None:
    assert classes_of(folder).classes == {}
    assert not Store.exists(folder.path)
    store = Store.open(folder.path)
    map_orders(store, 1)
    pay_1 = TopicPartition(TopicName("pay"), Partition(1))
    memory = Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(0), Offset(2))
    store.remember({pay_1: memory})  # begun before classes were decided
    store.close()
    orders_0 = TopicPartition(TopicName("orders"), Partition(0))
    recorded = {orders_0: OffsetClass.MAPPED, pay_1: OffsetClass.IDENTICAL}
    assert classes_of(folder).classes == recorded
    with folder.take_ownership(patience_seconds=0) as ownership:
        store = Store.open(folder.path)
        desk = Desk(store, lambda: None)
        with ApiServer(desk, Lookup(store, desk.status), ownership):
            assert classes_of(folder).classes == recorded
        store.close()


def test_offsets_are_looked_up_with_and_without_an_owner(folder: MigrationFolder) -> None:
    with pytest.raises(UsageError, match="has not been started"):
        Client(folder).translate("orders", 0, 4, Side.SOURCE)
    with pytest.raises(UsageError, match="has not been started"):
        list(Client(folder).runs(None))
    runs = RUNS_A_PAGE + 5
    store = Store.open(folder.path)
    map_orders(store, runs)
    store.close()

    def look() -> tuple[bool, Translation, list[tuple[int, int, int]]]:
        client = Client(folder)
        found = client.translate("orders", 0, 4, Side.SOURCE)
        return client.reached_owner, found, [run for part in client.runs("orders") for run in part.runs]

    without = look()
    with folder.take_ownership() as ownership:
        store = Store.open(folder.path)
        desk = Desk(store, lambda: None)
        with ApiServer(desk, Lookup(store, desk.status), ownership):
            beside = look()
        store.close()
    assert (without[0], beside[0]) == (False, True)
    assert without[1:] == beside[1:]
    assert beside[1].target_offset == 3
    assert beside[2] == [(number * 3, number * 2, 2) for number in range(runs)]


def test_a_partition_that_is_copied_anew_while_its_runs_are_read_is_told(folder: MigrationFolder) -> None:
    store = Store.open(folder.path)
    map_orders(store, RUNS_A_PAGE + 5)
    store.close()
    parts = Client(folder).runs(None)
    next(parts)
    store = Store.open(folder.path)
    store.forget("orders")
    map_orders(store, 2)
    store.close()
    with pytest.raises(KmigrateError, match="orders-0 was copied anew while its runs were read"):
        next(parts)


def test_runs_that_do_not_follow_each_other_are_no_answer(folder: MigrationFolder) -> None:
    store = Store.open(folder.path)
    map_orders(store, RUNS_A_PAGE + 5)
    store.close()
    parts = Client(folder).runs(None)
    next(parts)
    store = Store.open(folder.path)
    orders_0 = TopicPartition(TopicName("orders"), Partition(0))
    other = OffsetMap()
    for number in range(RUNS_A_PAGE + 5):
        other.add(Run(Offset(number * 5), Offset(number)))
    store.save_runs({orders_0: RunsFrom(0, other.to_bytes())})
    store.close()
    with pytest.raises(KmigrateError, match="orders-0 was copied anew while its runs were read"):
        next(parts)


def test_an_owner_that_is_starting_is_waited_for(folder: MigrationFolder) -> None:
    store = Store.open(folder.path)
    desk = Desk(store, lambda: None)
    desk.publish(DOCUMENT)
    with folder.take_ownership() as ownership:
        server = ApiServer(desk, Lookup(store, desk.status), ownership)

        def start_now(seconds: float) -> None:
            if not folder.socket_path.exists():
                server.start()

        assert Client(folder, sleep=start_now).status() == DOCUMENT
        server.stop()
    store.close()


def test_an_owner_that_ends_meanwhile_is_no_error(folder: MigrationFolder) -> None:
    store = Store.open(folder.path)
    Desk(store, lambda: None).publish(DOCUMENT)
    store.close()
    ownership = folder.take_ownership()
    assert Client(folder, sleep=lambda seconds: ownership.release()).status().state is MigrationState.ENDED


def test_an_owner_that_does_not_answer_is_named(folder: MigrationFolder) -> None:
    with (
        folder.take_ownership(),
        pytest.raises(KmigrateError, match=f"process {os.getpid()} .*does not answer") as caught,
    ):
        Client(folder, start_seconds=0).status()
    assert str(folder.log) in caught.value.hint
