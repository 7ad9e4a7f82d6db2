"""`verify` compares both clusters, keeps what it found, and ends with 3 where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest
import yaml

from kmigrate.cli import verify as command
from kmigrate.copy.states import PartitionState
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.status import PartitionStatus
from kmigrate.runner.verify import Verifier
from kmigrate.runner.verify_partition import Outcome, Task
from kmigrate.runner.verify_worker import Told
from kmigrate.state.store import RunsFrom, Store
from tests.simulation.batches import Record, make_batch
from tests.simulation.committed import compact, marker
from tests.simulation.log import PartitionLog
from tests.unit.runner.verified_logs import FakeCluster, keyed, records, work_on

from .conftest import DOCUMENT, World

PAY_0, PAY_3 = (TopicPartition(TopicName("pay"), Partition(number)) for number in (0, 3))


@dataclass
class Migration:
    """A migration of pay-0 and pay-3, and the clusters that it copies between."""

    world: World
    source: FakeCluster
    target: FakeCluster
    worked: list[Task]

    def write(self, tp: TopicPartition, *batches: bytes) -> None:
        """Written on the source, and copied."""
        for batch in batches:
            self.source.logs[tp].write(batch)
            self.target.logs[tp].write(batch)

    def copied(self, **changes: object) -> None:
        """The owner tells how far the copy has come, and ends."""
        self.world.left_behind(
            replace(
                DOCUMENT,
                source_cluster_id="source-id",
                target_cluster_id="target-id",
                partitions=tuple(
                    PartitionStatus(
                        topic=tp.topic,
                        partition=tp.partition,
                        state=PartitionState.IN_SYNC,
                        source_start=self.source.logs[tp].log_start,
                        position=log.end,
                        target_end=log.end,
                        offset_class=OffsetClass.IDENTICAL,
                        **changes,  # type: ignore[arg-type]
                    )
                    for tp, log in self.target.logs.items()
                ),
            )
        )

    def verify(self, *arguments: str, exit_code: int = 0) -> str:
        result = self.world.call("verify", *arguments)
        assert result.exit_code == exit_code, result.output
        shown = result.stdout if exit_code in (0, 3) else result.output
        return shown if "-o" in arguments else " ".join(shown.split())

    def document(self, *arguments: str, exit_code: int = 0) -> dict[str, dict[str, object]]:
        """What the JSON says of each partition."""
        told = json.loads(self.verify("-o", "json", *arguments, exit_code=exit_code))
        assert told["kind"] == "Verification"
        return {f"{row['topic']}-{row['partition']}": row for row in told["partitions"]}


@pytest.fixture
def migration(world: World, monkeypatch: pytest.MonkeyPatch) -> Migration:
    source = FakeCluster("source-id", {tp: PartitionLog(TopicId("ab" * 16)) for tp in (PAY_0, PAY_3)})
    target = FakeCluster("target-id", {tp: PartitionLog(TopicId("cd" * 16)) for tp in (PAY_0, PAY_3)})
    made = Migration(world, source, target, [])

    def work(tasks: Sequence[Task]) -> Iterator[Told | Outcome]:
        made.worked = list(tasks)
        return work_on(source, target)(tasks)

    def client(reach: object) -> FakeCluster:
        return source if getattr(reach, "side") is Side.SOURCE else target  # noqa: B009

    monkeypatch.setattr(command, "Verifier", partial(Verifier, work=work, clients=client))
    made.write(PAY_0, records(0, 5), records(5, 5))
    made.write(PAY_3, records(0, 3))
    made.copied()
    return made


def test_equal_clusters_are_told_as_equal(migration: Migration) -> None:
    shown = migration.verify()
    assert "2 partitions: 2 equal, 0 different, 0 unknown" in shown
    assert "13 records" in shown
    rows = migration.document("--again")
    assert {name: (row["verdict"], row["start"], row["end"]) for name, row in rows.items()} == {
        "pay-0": ("equal", 0, 10),
        "pay-3": ("equal", 0, 3),
    }


def test_a_difference_ends_with_3_and_is_named_with_its_offset(migration: Migration) -> None:
    migration.target.logs[PAY_0].batches[1] = migration.target.logs[PAY_0].batches[0]
    target = migration.target.logs[PAY_0]
    target.batches.pop()
    target.end = target.high_watermark = target.committed = 5
    target.write(records(5, 2))
    target.write(records(7, 3, b"a secret of the target "))
    shown = migration.verify(exit_code=3)
    assert "pay-0@7: the records are not the same" in shown
    assert "not the same: value" in shown
    assert "secret" not in shown
    assert "value 6 B" in shown
    shown = migration.verify("--show-contents", exit_code=3)
    assert "b'a secret" not in shown
    assert "'a secret of the target 7'" in shown
    kept = migration.document("--stored", exit_code=3)["pay-0"]
    assert kept["verdict"] == "different"
    assert "secret" not in json.dumps(kept)
    difference = kept["difference"]
    assert isinstance(difference, dict)
    assert (difference["sourceOffset"], difference["targetOffset"], difference["kind"]) == (7, 7, "differs")
    assert kept["end"] == 5 or kept["end"] == 7


def test_what_was_verified_stays_verified_and_the_tail_is_added(migration: Migration) -> None:
    migration.verify()
    assert [(task.start, task.end) for task in migration.worked] == [(0, 10), (0, 3)]
    migration.worked = []
    migration.verify()
    assert migration.worked == []
    migration.write(PAY_0, records(10, 4))
    migration.copied()
    stale = migration.document("--stored")["pay-0"]
    assert (stale["end"], stale["position"]) == (10, 14)
    assert "4 offsets were copied since and are not verified" in migration.verify("--stored")
    row = migration.document()["pay-0"]
    assert [(task.start, task.end) for task in migration.worked] == [(10, 14)]
    assert (row["start"], row["end"], row["freshFrom"], row["records"]) == (0, 14, 10, 4)
    migration.verify("--again")
    assert [(task.start, task.end) for task in migration.worked] == [(0, 14), (0, 3)]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_topic_created_anew_is_verified_anew(migration: Migration, side: str) -> None:
    migration.verify()
    cluster: FakeCluster = getattr(migration, side)
    for log in cluster.logs.values():
        log.topic_id = "ef" * 16
    migration.verify()
    assert [(task.start, task.end) for task in migration.worked] == [(0, 10), (0, 3)]


def test_another_class_is_verified_anew(migration: Migration) -> None:
    migration.verify()
    runs = OffsetMap()
    runs.add(Run(Offset(0), Offset(0)))
    store = Store.open(migration.world.folder)
    store.decide_classes({PAY_0: OffsetClass.MAPPED}, {PAY_0: RunsFrom(0, runs.to_bytes())})
    store.close()
    migration.copied()
    document = DOCUMENT
    migration.world.left_behind(
        replace(
            document,
            source_cluster_id="source-id",
            target_cluster_id="target-id",
            partitions=(
                PartitionStatus(
                    topic="pay",
                    partition=0,
                    state=PartitionState.IN_SYNC,
                    source_start=0,
                    position=10,
                    target_end=10,
                    offset_class=OffsetClass.MAPPED,
                ),
            ),
        )
    )
    row = migration.document("-t", "pay", "-p", "0")["pay-0"]
    assert (row["offsetClass"], row["freshFrom"], row["end"], row["verdict"]) == ("mapped", 0, 10, "equal")


def test_a_copy_that_is_behind_is_no_difference(migration: Migration) -> None:
    migration.source.logs[PAY_0].write(records(10, 90))
    for mode in ("ends", "counts", "records"):
        row = migration.document("--mode", mode, "-t", "pay", "-p", "0")["pay-0"]
        assert (row["verdict"], row["behind"], row["end"]) == ("equal", 90, 10), mode
    assert "90 not copied yet" in migration.verify()


def test_ends_tell_where_logs_begin_and_end(migration: Migration) -> None:
    migration.source.logs[PAY_0].delete_records(4)
    row = migration.document("--mode", "ends")["pay-0"]
    assert row["source"] == {"start": 4, "end": 10}
    assert row["target"] == {"start": 0, "end": 10}
    assert (row["start"], row["end"], row["verdict"]) == (4, 10, "equal")
    assert migration.worked == []
    wide = migration.verify("--mode", "ends", "-o", "wide")
    assert "pay-0" in wide


def test_a_target_that_begins_later_or_goes_on_further_is_a_difference(migration: Migration) -> None:
    migration.target.logs[PAY_0].delete_records(3)
    migration.target.logs[PAY_3].write(records(3, 2))
    for mode in ("ends", "records"):
        shown = migration.verify("--mode", mode, exit_code=3)
        assert "pay-0@0: the target has no such record" in shown
        assert "pay-3@3: the source has no such record: the target goes on to 5, the source ends at 3" in shown


def test_counts_of_a_stretch_of_time_may_differ(migration: Migration) -> None:
    migration.source.logs[PAY_3].write(make_batch([Record(1_700_000_000_000, None, b"1")] * 2))
    migration.target.logs[PAY_3].write(make_batch([Record(1_700_000_000_000, None, b"1")]))
    migration.target.logs[PAY_3].write(marker(9))
    migration.copied()
    shown = migration.verify("--mode", "counts", exit_code=3)
    assert "pay-3: 1 of 2 stretches of time have not as many records on both sides" in shown
    assert "2023-11-14 22:13:00 UTC: 2 on the source, 1 on the target" in shown


def test_a_compacted_topic_is_compared_by_the_latest_value_of_each_key(migration: Migration) -> None:
    migration.write(PAY_3, keyed((b"a", b"1")), keyed((b"a", b"2")))
    migration.copied()
    compact(migration.source.logs[PAY_3], 3, 4)
    migration.verify(exit_code=3)
    migration.source.policies[TopicName("pay")] = "compact,delete"
    row = migration.document("-t", "pay", "-p", "3")["pay-3"]
    assert (row["verdict"], row["excused"]) == ("equal", 1)
    assert migration.document("--mode", "counts", "-t", "pay", "-p", "3")["pay-3"]["verdict"] == "equal"


def test_a_digest_is_the_same_however_it_came_about(migration: Migration) -> None:
    migration.verify("--digest", "-t", "pay", "-p", "0")
    migration.write(PAY_0, records(10, 4))
    migration.copied()
    continued = migration.document("--digest", "-t", "pay", "-p", "0")["pay-0"]
    anew = migration.document("--digest", "--again", "-t", "pay", "-p", "0")["pay-0"]
    assert continued["digest"] == anew["digest"] is not None
    assert (anew["digestStart"], anew["digestEnd"]) == (0, 14)


def test_what_is_not_copied_yet_is_not_called_equal(migration: Migration) -> None:
    migration.source.logs[TopicPartition(TopicName("new"), Partition(0))] = PartitionLog(TopicId("99" * 16))
    told = migration.verify(exit_code=1)
    assert "1 partitions could not be compared, the first is new-0: nothing of it is copied yet" in told


def test_what_cannot_be_read_ends_with_1_and_says_why(migration: Migration) -> None:
    del migration.target.logs[PAY_3]
    told = migration.verify(exit_code=1)
    assert "pay-3: the target does not have it" in told
    rows = json.loads(migration.world.call("verify", "-o", "json").stdout)["partitions"]
    assert {row["partition"]: row["verdict"] for row in rows} == {0: "equal", 3: "unknown"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "3"], "partition of which topic?"),
        (["-t", "nothing"], "the migration has no topic 'nothing'"),
        (["-t", "pay", "-p", "9"], "the migration has no partition pay-9"),
        (["--digest", "--mode", "ends"], "a digest is made of records"),
    ],
)
def test_a_wrong_command_line_ends_with_2(migration: Migration, arguments: list[str], told: str) -> None:
    assert told in migration.verify(*arguments, exit_code=2)


def test_a_migration_that_was_never_started_has_nothing_to_verify(world: World) -> None:
    result = world.call("verify")
    assert result.exit_code == 2
    assert "has not been started" in result.output


def test_other_clusters_than_those_it_began_with_are_refused(migration: Migration) -> None:
    migration.target.cluster_id = "another"
    assert "began with target-id" in migration.verify(exit_code=6)


def test_an_interrupted_verification_keeps_what_it_compared(
    migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(tasks: Sequence[Task]) -> Iterator[Told | Outcome]:
        for message in work_on(migration.source, migration.target)(tasks):
            if isinstance(message, Told):
                yield message._replace(compared_to=2)
                raise KeyboardInterrupt

    wanted = partial(Verifier, work=work, clients=command.Verifier.keywords["clients"])  # type: ignore[attr-defined]
    monkeypatch.setattr(command, "Verifier", wanted)
    assert migration.world.call("verify").exit_code == 130
    kept = migration.document("--stored")
    assert {name: (row["start"], row["end"]) for name, row in kept.items()} == {"pay-0": (0, 2)}


def test_a_failure_below_is_not_hidden(migration: Migration, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(tasks: Sequence[Task]) -> Iterator[Told | Outcome]:
        raise KmigrateError("no processes")
        yield

    wanted = partial(Verifier, work=work, clients=command.Verifier.keywords["clients"])  # type: ignore[attr-defined]
    monkeypatch.setattr(command, "Verifier", wanted)
    assert "no processes" in migration.verify(exit_code=1)


def test_yaml_says_what_json_says(migration: Migration) -> None:
    told = yaml.safe_load(migration.verify("-o", "yaml"))
    assert {row["verdict"] for row in told["partitions"]} == {"equal"}
