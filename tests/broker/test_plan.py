"""`kmigrate plan` on real brokers: every partition gets the class that its content allows, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from kmigrate.cli.group import commands
from kmigrate.copy.identity import filler_producer_id, producer_id
from kmigrate.demo.embedded import EmbeddedCluster
from tests.broker.filler import append_filler
from tests.fault.harness import Migration, closing_all, wait_until
from tests.fault.stops.topics import list_groups, list_topics
from tests.kafka_tools import (
    SentRecord,
    create_topic,
    delete_records,
    new_topic_name,
    produce,
    read_all,
    watermarks,
    write_transaction,
)

pytestmark = pytest.mark.broker

COMPACTED = {"cleanup.policy": "compact", "segment.bytes": "300", "min.cleanable.dirty.ratio": "0.0"}
"""A segment holds one or two batches, and the cleaner is eager."""


class World(NamedTuple):
    """Two clusters, and the topics of the source by what is in them."""

    source: EmbeddedCluster
    target: EmbeddedCluster
    topics: Mapping[str, str]
    folder: Path

    def migration(self, *kinds: str, spec: dict[str, Any] | None = None) -> Migration:
        topics = [self.topics[kind] for kind in kinds or self.topics]
        return Migration(self.folder, self.source, self.target, topics, name=new_topic_name("plan"), spec=spec)


@pytest.fixture(scope="module")
def world(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory
) -> World:
    bootstrap = source_cluster.bootstrap
    kinds = ("plain", "transactional", "trimmed", "compacted")
    topics = {kind: new_topic_name(f"planned-{kind}") for kind in kinds}
    for kind, topic in topics.items():
        create_topic(bootstrap, topic, config=COMPACTED if kind == "compacted" else {})
    for kind in ("plain", "transactional", "trimmed"):
        produce(bootstrap, topics[kind], [b"value %d" % number for number in range(10)])
    write_transaction(bootstrap, topics["transactional"], [b"x"] * 3, commit=True)
    write_transaction(bootstrap, topics["transactional"], [b"y"] * 2, commit=False)
    delete_records(bootstrap, topics["trimmed"], 7)
    _write_compacted(bootstrap, topics["compacted"])
    return World(source_cluster, target_cluster, topics, tmp_path_factory.mktemp("plan"))


def _write_compacted(bootstrap: str, topic: str) -> None:
    """Of the first ten keys only the later values stay."""
    for keys in (range(10), range(10, 20), range(10), range(20, 30)):
        records = [SentRecord(key=b"key %d" % key, value=b"value") for key in keys]
        produce(bootstrap, topic, records, config={"linger.ms": 200})
    wait_until(f"{topic} is compacted", lambda: min(each.offset for each in read_all(bootstrap, topic)) >= 10)


def plan(migration: Migration, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["plan", "-f", str(migration.manifest), *arguments])


def planned(migration: Migration, *arguments: str) -> dict[str, Any]:
    result = plan(migration, "-o", "json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def by_topic(world: World, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = {topic: kind for kind, topic in world.topics.items()}
    return {names[each["topic"]]: each for each in document["partitions"]}


def hidden(world: World, kind: str) -> int:
    """Offsets of a topic without a record that a consumer sees, counted by librdkafka."""
    start, end = watermarks(world.source.bootstrap, world.topics[kind])
    return end - start - len(read_all(world.source.bootstrap, world.topics[kind]))


def test_every_content_gets_its_class_and_its_price(world: World) -> None:
    document = planned(world.migration())
    found = by_topic(world, document)
    assert document["classes"] == {"identical": 4}
    assert {kind: (each["filler"], each["markers"]) for kind, each in found.items()} == {
        "plain": (0, 0),
        "transactional": (0, hidden(world, "transactional")),
        "trimmed": (7, 0),
        "compacted": (0, hidden(world, "compacted")),
    }
    assert hidden(world, "transactional") == 4, "two markers and two aborted records"
    assert hidden(world, "compacted") > 0
    assert found["plain"]["reason"] == "no filler needed, no gaps"
    assert found["trimmed"]["reason"] == "filler up to the log start, no gaps"
    assert found["compacted"]["reason"] == found["transactional"]["reason"] == "no filler needed, gaps are filled"
    assert found["transactional"]["found"]["transactionalBatches"] == 2
    assert found["transactional"]["found"]["abortedBatches"] == 1
    assert found["transactional"]["found"]["controlBatches"] == 2
    assert found["compacted"]["found"]["compacted"]
    assert all(each["gapsExact"] and each["sizeBytes"] > 0 for each in found.values())
    assert document["blockers"] == []
    assert "MARKERS_CARRY_COPY_TIME" in {each["kind"] for each in document["notices"]}


def test_where_identical_offsets_cost_too_much_another_class_is_chosen(world: World) -> None:
    found = by_topic(world, planned(world.migration(spec={"offsets": {"padBudget": 6, "gapBudget": 3}})))
    assert {kind: (each["offsetClass"], each["reason"]) for kind, each in found.items()} == {
        "plain": ("identical", "no filler needed, no gaps"),
        "transactional": ("mapped", "more markers than gapBudget"),
        "trimmed": ("shifted", "more filler than padBudget; no gaps"),
        "compacted": ("mapped", "more markers than gapBudget"),
    }


def test_a_class_that_cannot_be_blocks(world: World) -> None:
    result = plan(world.migration(spec={"offsets": {"class": "identical", "padBudget": 6}}), "--detailed-exitcode")
    assert result.exit_code == 4
    assert f"topic {world.topics['trimmed']} cannot be identical in 1 partition" in result.stderr
    assert "7 filler records, padBudget allows 6" in result.stderr
    assert "raise offsets.padBudget" in result.stderr
    assert "blocked: more filler than padBudget" in result.stdout


def test_a_plan_writes_nothing_anywhere(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def content() -> object:
        clusters = world.source, world.target
        return [(list_topics(each), list_groups(each)) for each in clusters], sorted(world.folder.iterdir())

    migration = world.migration()
    before = content()
    assert plan(migration, "--detailed-exitcode").exit_code == 3
    assert content() == before
    assert list(tmp_path.iterdir()) == []


def test_filler_that_an_earlier_run_left_counts(world: World) -> None:
    topic = new_topic_name("planned-filler")
    create_topic(world.source.bootstrap, topic)
    produce(world.source.bootstrap, topic, [b"x"] * 12)
    delete_records(world.source.bootstrap, topic, 11)
    create_topic(world.target.bootstrap, topic, config={"retention.ms": "-1", "retention.bytes": "-1"})
    migration = Migration(world.folder, world.source, world.target, [topic], name=new_topic_name("plan"))
    ours = producer_id(world.source.cluster_id, world.target.cluster_id, migration.name)
    append_filler(world.target, topic, filler_producer_id(ours), [3])
    (only,) = json.loads(plan(migration, "-o", "json").stdout)["partitions"]
    assert (only["target"], only["targetEnd"], only["filler"]) == ("filler", 8, 3)
    assert (only["action"], only["offsetClass"]) == ("copy", "identical")


@pytest.fixture
def running(world: World) -> Iterator[Migration]:
    migration = world.migration("plain")
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        yield migration


def test_beside_a_running_owner_what_is_copied_is_told_as_begun(world: World, running: Migration) -> None:
    result = plan(running, "-o", "json", "--detailed-exitcode")
    assert result.exit_code == 0, result.output
    (only,) = json.loads(result.stdout)["partitions"]
    assert (only["action"], only["reason"], only["target"]) == ("nothing", "begun as identical", "ours")
    produce(world.source.bootstrap, world.topics["plain"], [b"one more"])
    wait_until("the new record is copied", lambda: watermarks(world.target.bootstrap, world.topics["plain"])[1] == 11)
    assert running.exit_code is None
