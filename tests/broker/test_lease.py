"""The lease on real group coordinators: one holder at a time, and nobody goes on who cannot show that he held it."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as WitnessPartition

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.orders import LeaseGrant
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.errors import Refused, Superseded
from kmigrate.kafka_types import Partition, Side, TopicName, TopicPartition
from kmigrate.runner.lease import Lease
from kmigrate.wire.call import Call
from kmigrate.wire.group_calls import find_coordinator, leave_group, offset_commit
from tests.conftest import SEED, SOURCE_VERSION, TARGET_VERSION
from tests.fault.cells import CELLS_VARIABLE
from tests.kafka_tools import create_topic
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.broker

SESSION_MS = 6000  # the least that brokers allow by default
PATIENCE_SECONDS = 30.0
T = TypeVar("T")
SETTINGS = ConnectionSettings(client_id="kmigrate-test", request_timeout_ms=10_000)

JOIN_GROUP, HEARTBEAT, SYNC_GROUP = 11, 12, 14

# 3.9 has two group coordinators, the older one by default; 4.x has the newer one only.
COORDINATORS = {
    "3.9.1": (SOURCE_VERSION, {}),
    "3.9.1-newer-coordinator": (
        SOURCE_VERSION,
        {"group.coordinator.rebalance.protocols": "classic,consumer"},
    ),
    "4.3.1": (TARGET_VERSION, {}),
}
"""What a quick run takes one of, by its seed, and `KMIGRATE_CELLS=all` takes whole."""
TRIED = dict(COORDINATORS)
if os.environ.get(CELLS_VARIABLE) != "all":
    TRIED = dict(random.Random(SEED).sample(sorted(COORDINATORS.items()), 1))

# What a process that holds the lease says on its standard output, one line each.
_HOLDER_PROCESS = f"""
import sys, time
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.kafka_types import Side
from kmigrate.runner.lease import Lease
def say(*words): print(*words, flush=True)
host, port, group = sys.argv[1], int(sys.argv[2]), sys.argv[3]
lease = Lease(Side.TARGET, [(host, port)], ConnectionSettings(client_id="holder"), group_id=group, owner="the child",
              session_timeout_ms={SESSION_MS}, on_member_id=lambda member_id: say("member", member_id),
              on_superseded=lambda error: say("superseded", error))
say("holds", lease.acquire(30).term)
time.sleep(600)
"""


class Owner:
    """A lease, and what it was told."""

    def __init__(self, bootstrap: str, group_id: str, name: str, predecessor: str | None = None) -> None:
        self.name = name
        self.member_ids: list[str] = []
        self.grants: queue.Queue[LeaseGrant] = queue.Queue()
        self.superseded: queue.Queue[Superseded] = queue.Queue()
        self.lease = Lease(
            Side.TARGET,
            [_address(bootstrap)],
            SETTINGS,
            group_id=group_id,
            owner=name,
            session_timeout_ms=SESSION_MS,
            predecessor_member_id=predecessor,
            on_member_id=self.member_ids.append,
            on_grant=self.grants.put,
            on_superseded=self.superseded.put,
        )

    def wait_for_grant(self, after: float) -> LeaseGrant:
        """The first grant that is good until later than the given time."""
        while (grant := self.grants.get(timeout=PATIENCE_SECONDS)).deadline_seconds <= after:
            pass
        return grant


Enter = Callable[..., Owner]


@pytest.fixture
def group_id() -> str:
    return f"kmigrate-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def enter(group_id: str) -> Iterator[Enter]:
    """Makes owners that release their lease when the test ends."""
    with ExitStack() as stack:

        def make(bootstrap: str, name: str, predecessor: str | None = None) -> Owner:
            owner = Owner(bootstrap, group_id, name, predecessor)
            stack.callback(owner.lease.release)
            return owner

        yield make


@pytest.fixture(params=["source_cluster", "target_cluster"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    cluster: EmbeddedCluster = request.getfixturevalue(request.param)
    return cluster.bootstrap


@pytest.fixture
def start_holder(bootstrap: str, group_id: str) -> Iterator[Callable[[], HolderProcess]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(HolderProcess(bootstrap, group_id))


class HolderProcess:
    """Another process that holds the lease; killed at the end."""

    def __init__(self, bootstrap: str, group_id: str) -> None:
        host, port = _address(bootstrap)
        command = [sys.executable, "-c", _HOLDER_PROCESS, host, str(port), group_id]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.member_id = self.wait_for("member")
        self.term = int(self.wait_for("holds"))

    def wait_for(self, word: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        said, _, rest = line.strip().partition(" ")
        assert said == word, f"the holder said {line!r}"
        return rest

    def __enter__(self) -> HolderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


def test_two_that_come_at_the_same_instant_are_one_holder_and_one_refused(bootstrap: str, enter: Enter) -> None:
    owners = [enter(bootstrap, name) for name in ("first", "second")]
    start = threading.Barrier(len(owners))
    outcomes: dict[str, LeaseGrant | Refused] = {}

    def acquire(owner: Owner) -> None:
        start.wait()
        try:
            outcomes[owner.name] = owner.lease.acquire(PATIENCE_SECONDS)
        except Refused as refused:
            outcomes[owner.name] = refused

    threads = [threading.Thread(target=acquire, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (holder,) = [name for name, outcome in outcomes.items() if isinstance(outcome, LeaseGrant)]
    (refused,) = [outcome for outcome in outcomes.values() if isinstance(outcome, Refused)]
    assert holder in str(refused)


def test_a_newcomer_is_told_who_holds_the_lease_and_the_holder_goes_on(bootstrap: str, enter: Enter) -> None:
    holder, newcomer = enter(bootstrap, "somebody:1 here"), enter(bootstrap, "newcomer")
    first = holder.lease.acquire(PATIENCE_SECONDS)

    with pytest.raises(Refused, match="somebody:1 here") as refused:
        newcomer.lease.acquire(PATIENCE_SECONDS)

    assert refused.value.hint
    later = holder.wait_for_grant(time.monotonic() + SESSION_MS / 1000 * 0.5)
    assert later.term > first.term
    assert holder.lease.superseded is None


def test_a_frozen_holder_loses_the_lease_after_its_session_and_finds_out_when_it_wakes(
    bootstrap: str, enter: Enter, start_holder: Callable[[], HolderProcess]
) -> None:
    frozen = start_holder()
    frozen.process.send_signal(signal.SIGSTOP)
    newcomer = enter(bootstrap, "newcomer")

    grant = newcomer.lease.acquire(SESSION_MS / 1000 + 6)
    frozen.process.send_signal(signal.SIGCONT)

    assert grant.term > frozen.term
    assert "newcomer" in frozen.wait_for("superseded")
    newcomer.wait_for_grant(time.monotonic())
    assert newcomer.lease.superseded is None


def test_a_successor_need_not_wait_for_the_session_of_its_dead_predecessor(
    bootstrap: str, enter: Enter, start_holder: Callable[[], HolderProcess]
) -> None:
    dead = start_holder()
    dead.process.kill()
    dead.process.wait()
    successor = enter(bootstrap, "successor", predecessor=dead.member_id)

    grant = successor.lease.acquire(SESSION_MS / 1000 / 3)

    assert grant.term > dead.term
    assert successor.member_ids != [dead.member_id]


def test_a_released_lease_is_free_at_once(bootstrap: str, enter: Enter) -> None:
    first = enter(bootstrap, "first")
    first.lease.acquire(PATIENCE_SECONDS)
    first.lease.release()
    first.lease.release()

    enter(bootstrap, "second").lease.acquire(SESSION_MS / 1000 / 3)


def test_commits_outlive_all_members(bootstrap: str, enter: Enter, group_id: str) -> None:
    topic = TopicName(create_topic(bootstrap, partitions=2))
    ours = {TopicPartition(topic, Partition(0)): (17, '{"phase": "é"}'), TopicPartition(topic, Partition(1)): (0, "")}
    holder = enter(bootstrap, "holder")
    assert holder.lease.commit(ours) == dict.fromkeys(ours, "the lease is not held")
    holder.lease.acquire(PATIENCE_SECONDS)

    assert holder.lease.commit(ours) == {}
    holder.lease.release()

    assert enter(bootstrap, "reader").lease.committed() == ours
    witness = Consumer({"bootstrap.servers": bootstrap, "group.id": group_id})
    seen: list[Any] = witness.committed([WitnessPartition(topic, 0), WitnessPartition(topic, 1)], timeout=10)
    witness.close()
    assert [(each.offset, each.metadata or "") for each in seen] == list(ours.values())


def test_a_commit_to_a_topic_that_is_not_there_is_returned_with_its_reason(bootstrap: str, enter: Enter) -> None:
    missing = TopicPartition(TopicName("not-there"), Partition(0))
    holder = enter(bootstrap, "holder")
    holder.lease.acquire(PATIENCE_SECONDS)

    assert holder.lease.commit({missing: (1, "")}) == {missing: "UNKNOWN_TOPIC_OR_PARTITION (3)"}


def test_a_commit_of_an_earlier_holder_is_refused(bootstrap: str, enter: Enter, group_id: str) -> None:
    place = TopicPartition(TopicName(create_topic(bootstrap)), Partition(0))
    earlier, later = enter(bootstrap, "earlier"), enter(bootstrap, "later")
    term = earlier.lease.acquire(PATIENCE_SECONDS).term
    earlier.lease.release()
    later.lease.acquire(PATIENCE_SECONDS)
    assert later.lease.commit({place: (5, "later")}) == {}

    late = offset_commit(group_id, term, earlier.member_ids[0], {place: (4, "earlier")})
    assert ask_coordinator(bootstrap, group_id, late)[place] in (22, 25)

    assert later.lease.committed() == {place: (5, "later")}


def test_a_holder_that_was_removed_finds_out_by_its_commit_and_comes_back(
    bootstrap: str, enter: Enter, group_id: str
) -> None:
    place = TopicPartition(TopicName(create_topic(bootstrap)), Partition(0))
    owner = enter(bootstrap, "owner")
    before = owner.lease.acquire(PATIENCE_SECONDS)
    assert owner.lease.commit({place: (0, "")}) == {}

    assert ask_coordinator(bootstrap, group_id, leave_group(group_id, owner.member_ids[0])) == 0
    owner.lease.commit({place: (1, "")})  # refused, unless a heartbeat was quicker

    while owner.lease.grant().term == before.term:
        owner.wait_for_grant(time.monotonic())
    assert owner.lease.grant().term == before.term + 2
    assert owner.lease.commit({place: (2, "")}) == {}
    assert owner.superseded.empty()


# -- Clusters that are hurt -----------------------------------------------------------------------


@pytest.mark.parametrize(("version", "properties"), TRIED.values(), ids=TRIED.keys())
def test_the_lease_survives_a_restart_of_its_coordinator(
    version: str, properties: dict[str, str], start_cluster: Callable[..., EmbeddedCluster], enter: Enter
) -> None:
    cluster = start_cluster(version, properties=properties)
    owner = enter(cluster.bootstrap, "owner")
    before = owner.lease.acquire(PATIENCE_SECONDS)

    cluster.restart(1)
    ready = time.monotonic()

    assert owner.wait_for_grant(ready + SESSION_MS / 1000 * 0.6).term == before.term
    cluster.kill(1)
    cluster.start_node(1)
    ready = time.monotonic()
    assert owner.wait_for_grant(ready + SESSION_MS / 1000 * 0.6).term == before.term
    assert owner.superseded.empty()
    assert owner.lease.trouble == ""


@pytest.mark.parametrize(("version", "properties"), TRIED.values(), ids=TRIED.keys())
def test_the_lease_moves_with_its_coordinator(
    version: str, properties: dict[str, str], start_cluster: Callable[..., EmbeddedCluster], enter: Enter, group_id: str
) -> None:
    cluster = start_cluster(version, brokers=2, properties=properties)
    owner = enter(cluster.bootstrap, "owner")
    before = owner.lease.acquire(PATIENCE_SECONDS)

    client = ClusterClient(Side.TARGET, [_address(cluster.bootstrap)], SETTINGS)
    coordinator = client.any(find_coordinator(group_id)).address.node_id
    client.close()
    cluster.kill(coordinator)
    killed = time.monotonic()

    assert owner.wait_for_grant(killed + SESSION_MS / 1000 * 0.6).term >= before.term
    with pytest.raises(Refused, match="owner"):
        enter(f"127.0.0.1:{cluster.port(3 - coordinator)}", "newcomer").lease.acquire(PATIENCE_SECONDS)
    assert owner.superseded.empty()


@pytest.fixture(params=list(TRIED.values()), ids=list(TRIED))
def cut(request: pytest.FixtureRequest, start_cluster: Callable[..., EmbeddedCluster]) -> Iterator[CutCluster]:
    version, properties = request.param
    with TcpProxy() as proxy:
        cluster = start_cluster(version, properties=properties, advertised={1: proxy.port})
        proxy.forward_to(cluster.port(1))
        yield CutCluster(cluster, proxy)


class CutCluster:
    """A cluster that can be reached over a wire that may be cut, and past it."""

    def __init__(self, cluster: EmbeddedCluster, proxy: TcpProxy) -> None:
        self.over_wire = cluster.bootstrap
        self.past_wire = cluster.direct_bootstrap
        self.proxy = proxy

    def commit(self, owner: Owner) -> None:
        """A group with commits is not forgotten: only in such a one can be shown that nobody came."""
        place = TopicPartition(TopicName(create_topic(self.past_wire)), Partition(0))
        assert owner.lease.commit({place: (0, "")}) == {}

    def cut(self) -> None:
        """Nothing comes through any more, in either direction, and nobody is told."""
        self.proxy.hold()

    def heal(self) -> float:
        """Lets new connections through; what was under way is lost. Returns the time."""
        now = time.monotonic()
        self.proxy.cut_all()
        self.proxy.release()
        return now


def test_who_was_cut_off_alone_has_the_lease_again_with_a_new_term(cut: CutCluster, enter: Enter) -> None:
    owner = enter(cut.over_wire, "owner")
    before = owner.lease.acquire(PATIENCE_SECONDS)
    cut.commit(owner)
    cut.cut()
    time.sleep(SESSION_MS / 1000 * 1.5)
    assert owner.lease.grant().deadline_seconds < time.monotonic()
    assert owner.lease.trouble
    healed = cut.heal()

    assert owner.wait_for_grant(healed).term == before.term + 2
    assert owner.superseded.empty()
    assert owner.lease.trouble == ""
    assert len(owner.member_ids) == 2


def test_who_was_cut_off_before_the_group_held_a_commit_cannot_show_that_nobody_came(
    cut: CutCluster, enter: Enter
) -> None:
    owner = enter(cut.over_wire, "owner")
    owner.lease.acquire(PATIENCE_SECONDS)
    cut.cut()
    time.sleep(SESSION_MS / 1000 * 1.5)
    cut.heal()

    assert "it cannot be known" in str(owner.superseded.get(timeout=PATIENCE_SECONDS))


def test_who_was_cut_off_while_another_held_the_lease_is_superseded(cut: CutCluster, enter: Enter) -> None:
    owner, other = enter(cut.over_wire, "owner"), enter(cut.past_wire, "other")
    owner.lease.acquire(PATIENCE_SECONDS)
    cut.commit(owner)
    cut.cut()
    other.lease.acquire(PATIENCE_SECONDS)
    other.lease.release()
    healed = cut.heal()

    assert "another owner held the lease" in str(owner.superseded.get(timeout=PATIENCE_SECONDS))
    assert owner.lease.grant().deadline_seconds < healed
    enter(cut.past_wire, "third").lease.acquire(SESSION_MS / 1000 / 3)


def test_who_was_cut_off_is_superseded_by_one_that_has_died_since(cut: CutCluster, enter: Enter, group_id: str) -> None:
    """The generation would be the same if nobody had been there."""
    owner = enter(cut.over_wire, "owner")
    owner.lease.acquire(PATIENCE_SECONDS)
    cut.cut()
    with HolderProcess(cut.past_wire, group_id):
        pass  # killed as soon as it holds the lease
    cut.heal()

    assert "the child" in str(owner.superseded.get(timeout=PATIENCE_SECONDS))


def test_a_release_does_not_wait_for_a_target_that_is_gone(cut: CutCluster, enter: Enter) -> None:
    owner = enter(cut.over_wire, "owner")
    owner.lease.acquire(PATIENCE_SECONDS)
    cut.cut()
    time.sleep(SESSION_MS / 1000 / 3)  # it waits for the answer to a heartbeat now

    releasing = threading.Thread(target=owner.lease.release, daemon=True)
    releasing.start()
    releasing.join(SESSION_MS / 1000 / 2)
    assert not releasing.is_alive()


def test_lost_answers_are_asked_for_again(cut: CutCluster, enter: Enter) -> None:
    """The first JoinGroup's answer brings the member id, the second's the generation."""
    lost = [cut.proxy.cut_after_request(api_key, times) for api_key, times in ((JOIN_GROUP, 2), (SYNC_GROUP, 1))]
    owner = enter(cut.over_wire, "owner")
    first = owner.lease.acquire(PATIENCE_SECONDS)
    assert [rule.done for rule in lost] == [2, 1]

    lost = [cut.proxy.cut_after_request(api_key) for api_key in (JOIN_GROUP, SYNC_GROUP, HEARTBEAT)]
    with pytest.raises(Refused, match="owner"):
        enter(cut.past_wire, "newcomer").lease.acquire(PATIENCE_SECONDS)
    for rule in lost:
        rule.wait()

    assert owner.wait_for_grant(time.monotonic()).term > first.term
    assert owner.superseded.empty()


def ask_coordinator(bootstrap: str, group_id: str, call: Call[T]) -> T:
    """Sends one call to the coordinator of a group, past any `Lease`."""
    client = ClusterClient(Side.TARGET, [_address(bootstrap)], SETTINGS)
    try:
        return client.broker(client.any(find_coordinator(group_id)).address.node_id, call)
    finally:
        client.close()


def _address(bootstrap: str) -> tuple[str, int]:
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    return host, int(port)
