"""`verify` of copies that another tool made: what it says, how it ends, and that it needs and leaves no state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from kmigrate.cli import verify as command
from kmigrate.kafka_types import Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.runner.log_pieces import AT_ONCE
from kmigrate.runner.verify_pair import PairOutcome, PairTask, verify_pair
from kmigrate.runner.verify_pairs import PairVerifier
from kmigrate.runner.verify_partition import Outcome, Sides
from kmigrate.runner.verify_worker import Told
from kmigrate.state.store import Store
from kmigrate.verify.walk import Amounts
from tests.simulation.log import PartitionLog
from tests.unit.runner.verified_logs import FakeCluster, LogLeaders, records

from .conftest import World

PAY_0, PAY_1 = (TopicPartition(TopicName("pay"), Partition(number)) for number in (0, 1))
COPY_0, COPY_1 = (TopicPartition(TopicName("source.pay"), Partition(number)) for number in (0, 1))
SPEC = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: mirror}
spec:
  source: {properties: {bootstrap.servers: "a:1"}}
  target: {properties: {bootstrap.servers: "b:1"}}
"""
PAIRS = SPEC + "  pairs: {pay: source.pay}\n"


@dataclass
class Mirror:
    """pay-0 and pay-1, and their copies."""

    world: World
    source: FakeCluster
    target: FakeCluster

    def verify(self, *arguments: str, exit_code: int = 0) -> str:
        result = self.world.call("verify", *arguments)
        assert result.exit_code == exit_code, result.output
        shown: str = result.stdout if exit_code in (0, 3) else result.output
        return shown if "-o" in arguments else " ".join(shown.split())


@pytest.fixture
def mirror(world: World, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    source = FakeCluster("source-id", {tp: PartitionLog(TopicId("ab" * 16)) for tp in (PAY_0, PAY_1)})
    target = FakeCluster("target-id", {tp: PartitionLog(TopicId("cd" * 16)) for tp in (COPY_0, COPY_1)})
    made = Mirror(world, source, target)

    def work(tasks: Sequence[PairTask]) -> Iterator[Told | Outcome | PairOutcome]:
        for task in tasks:
            leaders = (
                LogLeaders(Side.SOURCE, source.logs[task.partition], partition=task.partition),
                LogLeaders(Side.TARGET, target.logs[task.target], partition=task.target),
            )
            yield Told(task.partition, 0, Amounts())
            if task.partition.partition == 1 and not target.logs[COPY_1].end:
                yield Outcome(partition=task.partition, compared_to=-1, failure="its process ended", hint="again")
            else:
                yield verify_pair(task, Sides(*leaders), AT_ONCE, lambda *_: None)

    def client(reach: object) -> FakeCluster:
        return source if getattr(reach, "side") is Side.SOURCE else target  # noqa: B009

    monkeypatch.setattr(command, "PairVerifier", partial(PairVerifier, work=work, clients=client))
    world.file.write_text(PAIRS)
    for tp, copy in ((PAY_0, COPY_0), (PAY_1, COPY_1)):
        source.logs[tp].write(records(0, 10))
        target.logs[copy].write(records(0, 10))
    return made


def test_equal_copies_are_told_as_equal_and_nothing_is_left_behind(mirror: Mirror) -> None:
    shown = mirror.verify()
    assert "pay → 2 2 0 0 20 0 0 source.pay" in shown, "folded to the width of the terminal"
    assert "2 partitions: 2 equal, 0 different, 0 unknown; 20 records" in shown
    assert not (mirror.world.root / "state").exists()


def test_what_differs_ends_with_3_and_is_kept_where_there_is_a_state(mirror: Mirror) -> None:
    log = PartitionLog(TopicId("cd" * 16))
    for number in [0, 1, 2, 3, 1, 4, 5, 7, 8, 9]:
        log.write(records(number, 1))
    mirror.target.logs[COPY_0] = log
    folder = mirror.world.root / "state" / "mirror"
    folder.mkdir(parents=True)
    Store.open(folder).close()
    shown = mirror.verify(exit_code=3)
    assert "pay-0@1: the target has this record again (offset 4 on the target)" in shown
    assert "pay-0@6: the target has no such record (offset 7 on the target)" in shown
    assert "in all: 1 missing, 1 repeated" in shown
    kept = json.loads(mirror.verify("--stored", "-o", "json", exit_code=3))
    assert kept["partitions"][0]["differentRecords"] == {"missing": 1, "repeated": 1}
    assert "pay-1" not in mirror.verify("-p", "0", "-t", "pay", exit_code=3)


def test_what_cannot_be_compared_is_unknown_and_ends_with_1(mirror: Mirror) -> None:
    del mirror.target.logs[COPY_1]
    shown = mirror.verify(exit_code=1)
    assert "the target has no source.pay-1" in shown
    assert "1 equal, 0 different, 1 unknown" in shown
    mirror.target.logs[COPY_1] = PartitionLog(TopicId("cd" * 16))
    assert "its process ended" in mirror.verify(exit_code=1)


def test_clusters_and_topics_must_be_the_right_ones(mirror: Mirror) -> None:
    assert "spec.pairs names no topic 'orders'" in mirror.verify("-t", "orders", exit_code=2)
    assert "has no partition 7" in mirror.verify("-t", "pay", "-p", "7", exit_code=2)
    assert "a digest is made of records at the same offsets" in mirror.verify("--digest", exit_code=2)
    mirror.target.cluster_id = "source-id"
    mirror.verify()  # a topic and its copy may be in the same cluster
    mirror.world.file.write_text(SPEC + "  pairs: {pay: pay}\n")
    assert "are the same cluster" in mirror.verify(exit_code=6)
    mirror.world.file.write_text(PAIRS.replace("source: {", "source: {clusterId: another, "))
    assert "clusterId says another" in mirror.verify(exit_code=6)
    mirror.world.file.write_text(SPEC + "  pairs: {orders: orders}\n")
    mirror.target.cluster_id = "target-id"
    assert "topic 'orders' of spec.pairs is not on the source" in mirror.verify(exit_code=2)
