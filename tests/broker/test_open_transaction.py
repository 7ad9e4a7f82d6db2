"""A transaction that is left open on the source is named: what leaders and coordinators of real brokers tell."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kmigrate.cli.group import commands
from kmigrate.cli.panels import abort_words
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.states import PartitionState
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.runner.open_transactions import NOT_NAMED
from kmigrate.runner.status import OpenTransaction, PartitionStatus
from kmigrate.runner.transaction_observer import Answers, ask
from kmigrate.wire import calls
from tests.conftest import SOURCE_VERSION
from tests.content.raw_produce import append_batch
from tests.content.transactional import TransactionalWriter
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import create_topic, new_topic_name, produce, read_all, run_java_tool
from tests.simulation.batches import Record, make_batch

pytestmark = pytest.mark.broker

TRANSACTIONAL = 1 << 4
TIMEOUT_MS = 600_000
"""The transaction time-out of a `TransactionalWriter`."""


class Observed:
    """A topic on one cluster, and what can be learnt of the transactions that hold its partitions back."""

    def __init__(self, cluster: EmbeddedCluster, partitions: int = 1) -> None:
        self.cluster = cluster
        self.topic = TopicName(create_topic(cluster.direct_bootstrap, partitions=partitions))
        self.partitions = [TopicPartition(self.topic, Partition(number)) for number in range(partitions)]
        host, _, port = cluster.direct_bootstrap.partition(":")
        self.client = ClusterClient(Side.SOURCE, [(host, int(port))], ConnectionSettings(client_id="observer"))

    def ends(self, isolation_level: int = calls.READ_COMMITTED) -> Mapping[TopicPartition, Offset]:
        """Last stable offsets, or high watermarks."""
        answer = self.client.any(calls.list_offsets(self.partitions, calls.LATEST, isolation_level))
        return {partition: each.offset for partition, each in answer.items()}

    def ask(self) -> Answers:
        answers, trouble = ask(self.client, self.ends())
        assert trouble == ""
        return answers

    def writer(self, name: str = "writer") -> TransactionalWriter:
        writer = TransactionalWriter(self.cluster, self.topic, name)
        writer.register()
        return writer


@contextmanager
def observed(cluster: EmbeddedCluster, partitions: int = 1) -> Iterator[Observed]:
    found = Observed(cluster, partitions)
    try:
        yield found
    finally:
        found.client.close()


@pytest.mark.parametrize("cluster", ["source_cluster", "target_cluster"])
@pytest.mark.parametrize("commit", [True, False])
def test_an_open_transaction_is_named_until_it_ends(request: pytest.FixtureRequest, cluster: str, commit: bool) -> None:
    with observed(request.getfixturevalue(cluster), partitions=3) as topic:
        produce(topic.cluster.direct_bootstrap, topic.topic, [b"before"] * 5)
        first, second = topic.writer("first"), topic.writer("second")
        began_ms = time.time_ns() // 1_000_000
        first.begin()
        first.write((0, 1), 4)
        second.begin()
        second.write((0, 2), 4)
        until_ms = time.time_ns() // 1_000_000
        answers = topic.ask()
        held_first, held_also, held_second = (answers[each] for each in topic.partitions)
        assert held_first is not None
        assert held_second is not None
        assert (held_first.transactional_id, held_second.transactional_id) == (
            f"{topic.topic}-first",
            f"{topic.topic}-second",
        )
        assert (held_first.first_offset, held_second.first_offset) == (5, 0)
        assert held_also == replace(held_first, first_offset=0)
        for each in (held_first, held_second):
            assert (each.state, each.timeout_ms, each.hanging, each.note) == ("Ongoing", TIMEOUT_MS, False, "")
            assert each.since is not None
            assert began_ms <= each.since <= until_ms
        assert held_first.producer_id != held_second.producer_id
        (first.commit if commit else first.abort)()
        left = dict(zip(topic.partitions, (replace(held_second, first_offset=9), None, held_second), strict=True))
        wait_until("only the second holds anything", lambda: topic.ask() == left)
        second.commit()
        wait_until("nothing is open", lambda: not any(topic.ask().values()))
        assert topic.ends() == topic.ends(calls.READ_UNCOMMITTED)


def test_an_old_broker_names_the_producer_only(old_cluster: EmbeddedCluster) -> None:
    with observed(old_cluster) as topic:
        writer = topic.writer()
        writer.begin()
        writer.write(0, 4)
        told = topic.ask()[topic.partitions[0]]
        assert told is not None
        assert told.note.startswith("not readable: ")
        assert "ListTransactions: UNSUPPORTED_VERSION" in told.note
        assert told == OpenTransaction(producer_id=told.producer_id, producer_epoch=0, first_offset=0, note=told.note)
        writer.commit()
        wait_until("it is over", lambda: topic.ask() == {topic.partitions[0]: None})


@pytest.fixture
def careless_cluster(start_cluster: Callable[..., EmbeddedCluster]) -> EmbeddedCluster:
    """A broker that takes transactional records without asking their coordinator, as all did before Kafka 3.6."""
    return start_cluster(SOURCE_VERSION, properties={"transaction.partition.verification.enable": "false"})


def test_a_hanging_transaction_is_told_and_its_remedy_ends_it(
    tmp_path: Path, careless_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    with observed(careless_cluster, partitions=2) as topic:
        known, unknown = topic.partitions
        writer = topic.writer()
        writer.begin()
        writer.write(1, 1)
        (during,) = filter(None, topic.ask().values())
        writer.commit()
        wait_until("it is over", lambda: not any(topic.ask().values()))
        producers = {known: (during.producer_id, during.producer_epoch), unknown: (4711, 0)}
        for partition, (producer_id, epoch) in producers.items():
            batch = make_batch(
                [Record(1_790_000_000_000, None, b"late")] * 3,
                attributes=TRANSACTIONAL,
                producer_id=producer_id,
                producer_epoch=epoch,
                base_sequence=0,
            )
            append_batch(topic.cluster, topic.topic, batch, partition.partition, transactional_id="anybody")
        held = topic.ends()
        assert held == {known: 0, unknown: 2}, "a marker follows the record that was committed"
        answers = topic.ask()
        assert answers == {
            known: OpenTransaction(
                producer_id=during.producer_id,
                producer_epoch=during.producer_epoch,
                first_offset=0,
                transactional_id=f"{topic.topic}-writer",
                state="CompleteCommit",
                hanging=True,
            ),
            unknown: OpenTransaction(producer_id=4711, producer_epoch=0, first_offset=2, note=NOT_NAMED),
        }
        copy = Migration(tmp_path, topic.cluster, target_cluster, [topic.topic], name=new_topic_name("hanging"))
        checked = CliRunner().invoke(commands, ["check", "-f", str(copy.manifest), "-o", "json"])
        assert checked.exit_code == 0, checked.output
        findings = json.loads(checked.stdout)["findings"]
        hanging = [each for each in findings if each["id"] == "TRANSACTION_HANGING"]
        aborts = f"abort --topic {topic.topic} --partition"
        assert [(each["level"], each["reason"]) for each in hanging] == [
            (
                "WARNING",
                f"a transaction hangs in {place} on the source since offset {offset} (producer id {id_}): {why}",
            )
            for place, offset, id_, why in (
                (known, 0, during.producer_id, "its coordinator says CompleteCommit, without this partition"),
                (unknown, 2, 4711, NOT_NAMED),
            )
        ]
        assert [
            f"{aborts} {each.partition} --start-offset" in tell
            for each, tell in zip(topic.partitions, (each["remedy"] for each in hanging), strict=True)
        ] == [True, True]
        for partition, found in answers.items():
            assert found is not None
            _remedy(topic.cluster, partition, found)
        wait_until("the remedy has worked", lambda: topic.ends() == topic.ends(calls.READ_UNCOMMITTED))
        assert not any(topic.ask().values())


def _remedy(cluster: EmbeddedCluster, partition: TopicPartition, found: OpenTransaction) -> None:
    """Does what the status says, word for word."""
    told = PartitionStatus(topic=partition.topic, partition=partition.partition, state=PartitionState.IN_SYNC)
    _, tool, command = abort_words(told, found).partition("kafka-transactions.sh ")
    assert tool
    arguments = shlex.split(command.replace("SOURCE", cluster.direct_bootstrap))
    run_java_tool(cluster.version, "org.apache.kafka.tools.TransactionsCommand", *arguments)


@pytest.fixture
def guarded_cluster(start_cluster: Callable[..., EmbeddedCluster]) -> EmbeddedCluster:
    """A broker on which everybody may do what no rule is about."""
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    properties = {"authorizer.class.name": authorizer, "allow.everyone.if.no.acl.found": "true"}
    return start_cluster(SOURCE_VERSION, properties=properties)


def test_what_may_not_be_seen_is_told_as_such(guarded_cluster: EmbeddedCluster) -> None:
    with observed(guarded_cluster) as topic:
        (partition,) = topic.partitions
        writer = topic.writer()
        writer.begin()
        writer.write(0, 4)
        during = topic.ask()[partition]
        assert during is not None
        assert during.transactional_id == f"{topic.topic}-writer"
        hidden = OpenTransaction(
            producer_id=during.producer_id, producer_epoch=during.producer_epoch, first_offset=0, note=NOT_NAMED
        )
        _rule(guarded_cluster, "--deny-principal", "Describe", "--transactional-id", during.transactional_id)
        wait_until("the transactional id is hidden", lambda: topic.ask() == {partition: hidden})

        def trouble() -> str:
            return ask(topic.client, {partition: Offset(0)}).trouble

        _rule(guarded_cluster, "--deny-principal", "Read", "--topic", topic.topic)
        refusal = f"Metadata of {topic.topic}: TOPIC_AUTHORIZATION_FAILED"  # who may not read, may not describe
        wait_until("the topic is hidden", lambda: trouble() == refusal)
        _rule(guarded_cluster, "--allow-principal", "Describe", "--topic", topic.topic)
        refusal = f"DescribeProducers of {partition}: TOPIC_AUTHORIZATION_FAILED"
        wait_until("the producers are hidden", lambda: trouble() == refusal)


def _rule(cluster: EmbeddedCluster, rule: str, operation: str, *resource: str) -> None:
    run_java_tool(
        cluster.version,
        "kafka.admin.AclCommand",
        *("--bootstrap-server", cluster.direct_bootstrap, "--add", rule, "User:ANONYMOUS"),
        *("--operation", operation, *resource),
    )


@pytest.fixture
def migration(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> Iterator[Callable[[str], Migration]]:
    """Starts a migration of one topic between the shared clusters, in the background."""
    made: list[Migration] = []

    def start(topic: str) -> Migration:
        made.append(Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("held")))
        made[-1].start()
        return made[-1]

    with closing_all(made):
        yield start


def test_status_names_what_holds_the_copy_back_until_it_is_committed(
    migration: Callable[[str], Migration], source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    with observed(source_cluster, partitions=2) as topic:
        produce(source_cluster.bootstrap, topic.topic, [b"before"] * 5)
        writer = topic.writer()
        began_ms = time.time_ns() // 1_000_000
        writer.begin()
        writer.write(0, 4)
        until_ms = time.time_ns() // 1_000_000
        produce(source_cluster.bootstrap, topic.topic, [b"behind"] * 3)
        (during,) = filter(None, topic.ask().values())
        running = migration(topic.topic)

        def held() -> Mapping[str, Any] | None:
            named = [each for each in running.status()["partitions"] if each["openTransaction"]]
            return named[0] if named else None

        first: Mapping[str, Any] = wait_until("the status names it", held, evidence=running.evidence)
        assert (first["partition"], first["heldBackRecords"], first["sourceEnd"]) == (0, 7, 5)
        since = first["openTransaction"]["since"]
        assert began_ms <= since <= until_ms
        assert first["openTransaction"] == {
            "producerId": during.producer_id,
            "producerEpoch": during.producer_epoch,
            "transactionalId": f"{topic.topic}-writer",
            "since": since,
            "firstOffset": 5,
            "state": "Ongoing",
            "timeoutMs": TIMEOUT_MS,
            "hanging": False,
            "note": "",
        }
        other = running.status()["partitions"][1]
        assert (other["heldBackRecords"], other["openTransaction"]) == (0, None)
        document = running.wait_for_state("IN_SYNC")
        assert "1 partition held back by open transactions" in document["reason"]
        shown = " ".join(running.command("status", "--no-color").stdout.split())
        assert f"{topic.topic}-0 7 offsets from 5 on, producer id {during.producer_id}" in shown

        writer.commit()
        wait_until("the status names nothing", lambda: not held(), evidence=running.evidence)
        assert running.status()["partitions"][0]["heldBackRecords"] == 0
        running.wait_in_sync()
        assert read_all(target_cluster.bootstrap, topic.topic) == read_all(source_cluster.bootstrap, topic.topic)
        running.stop()
