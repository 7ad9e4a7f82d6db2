"""Partitions in the classes shifted and mapped: every record once, in order, where the offset map says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends
from kmigrate.state.store import Store
from tests.content.content import Content, Place
from tests.content.judging import Seen, read_ends, read_records
from tests.content.transactional import transactional
from tests.content.trimmed import delete_records, trimmed
from tests.fault.harness import Migration, closing_all, log_ends, wait_until
from tests.kafka_tools import create_topic, new_topic_name, produce

pytestmark = pytest.mark.broker


@pytest.fixture
def migrations(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> Iterator[list[Migration]]:
    made: list[Migration] = []
    with closing_all(made):
        yield made


def migration(
    made: list[Migration],
    folder: Path,
    source: EmbeddedCluster,
    target: EmbeddedCluster,
    contents: list[Content],
    offsets: Mapping[str, object],
) -> Migration:
    topics = [content.topic for content in contents]
    made.append(Migration(folder, source, target, topics, name=new_topic_name("class"), spec={"offsets": offsets}))
    return made[-1]


def run(copy: Migration) -> None:
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()


def by_partition(records: Mapping[Place, Seen]) -> dict[int, list[tuple[int, Seen]]]:
    found: dict[int, list[tuple[int, Seen]]] = {}
    for (partition, offset), seen in sorted(records.items()):
        found.setdefault(partition, []).append((offset, seen))
    return found


def assert_mapped(copy: Migration, source: EmbeddedCluster, target: EmbeddedCluster, topic: str) -> None:
    """The same records in the same order, each where the saved map says, and the map is its own inverse."""
    there, here = by_partition(read_records(source, topic)), by_partition(read_records(target, topic))
    starts, ends = read_ends(source, topic), read_ends(target, topic)
    store = Store.open(copy.state_root / copy.name)
    try:
        for partition in starts:
            originals, copies = there.get(partition, []), here.get(partition, [])
            assert [seen._replace(timestamp_type=0) for _, seen in originals] == [
                seen._replace(timestamp_type=0) for _, seen in copies
            ]
            kept = store.offset_map(TopicPartition(TopicName(topic), Partition(partition)))
            last = Ends(Offset(starts[partition].stable), Offset(ends[partition].end))
            assert kept.to_target(last.source, last) == last.target
            for (offset, _), (place, _) in zip(originals, copies, strict=True):
                assert kept.to_target(Offset(offset), last) == place
                assert kept.to_source(Offset(place), last) == offset
    finally:
        store.close()


def test_a_mapped_copy_leaves_out_gaps_and_log_starts(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    contents = [transactional(source_cluster), trimmed(source_cluster)]
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, contents, {"class": "mapped"})
    run(copy)
    for content in contents:
        assert_mapped(copy, source_cluster, target_cluster, content.topic)
        assert {ends.start for ends in read_ends(target_cluster, content.topic).values()} == {0}
    assert {each["offsetClass"] for each in copy.status()["partitions"]} == {"mapped"}


def test_another_class_in_the_manifest_is_refused_for_what_has_begun(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    content = transactional(source_cluster)
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, [content], {"class": "mapped"})
    run(copy)
    ends, text = log_ends(target_cluster, [content.topic]), copy.manifest.read_text()
    copy.manifest.write_text(text.replace("class: mapped", "class: shifted"))
    produce(source_cluster.bootstrap, content.topic, [b"afterwards"] * 3)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 6, copy.evidence()
    assert f"asks for the class shifted now, but class mapped was decided: {content.topic}" in copy.messages()
    assert log_ends(target_cluster, [content.topic]) == ends
    copy.manifest.write_text(text)
    run(copy)
    assert_mapped(copy, source_cluster, target_cluster, content.topic)


def test_a_shifted_copy_begins_at_zero_and_fills_gaps(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    contents = [transactional(source_cluster), trimmed(source_cluster)]
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, contents, {"class": "shifted"})
    run(copy)
    for content in contents:
        assert_mapped(copy, source_cluster, target_cluster, content.topic)
        starts = read_ends(source_cluster, content.topic)
        for partition, ends in read_ends(target_cluster, content.topic).items():
            assert ends.end == starts[partition].stable - starts[partition].start


def test_too_much_filler_makes_a_partition_shifted_where_any_class_will_do(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    content = trimmed(source_cluster)
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, [content], {"padBudget": 100})
    run(copy)
    assert_mapped_or_identical(copy, source_cluster, target_cluster, content.topic)
    classes = {each["partition"]: each["offsetClass"] for each in copy.status()["partitions"]}
    expected = {
        partition: "shifted" if ends.start > 100 else "identical"
        for partition, ends in read_ends(source_cluster, content.topic).items()
    }
    assert classes == expected
    assert set(expected.values()) == {"shifted", "identical"}


def assert_mapped_or_identical(copy: Migration, source: EmbeddedCluster, target: EmbeddedCluster, topic: str) -> None:
    there, here = by_partition(read_records(source, topic)), by_partition(read_records(target, topic))
    for partition, ends in read_ends(source, topic).items():
        shift = ends.start if ends.start > 100 else 0
        assert [(offset - shift, seen._replace(timestamp_type=0)) for offset, seen in there.get(partition, [])] == [
            (offset, seen._replace(timestamp_type=0)) for offset, seen in here.get(partition, [])
        ]


def test_a_mapped_copy_survives_kills_and_follows_new_records(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    content = transactional(source_cluster)
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, [content], {"class": "mapped"})
    for number in range(3):
        copy.start()
        wait_until("something is copied", lambda: any(log_ends(target_cluster, [content.topic]).values()))
        copy.kill_owner()
        produce(source_cluster.bootstrap, content.topic, [b"after kill %d" % number] * 3)
    run(copy)
    assert_mapped(copy, source_cluster, target_cluster, content.topic)


def test_without_its_map_a_mapped_copy_stops_and_touches_nothing(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    produce(source_cluster.bootstrap, topic, [b"a", b"b"])
    contents = [Content(topic, frozenset())]
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, contents, {"class": "mapped"})
    run(copy)
    copy.lose_state()
    produce(source_cluster.bootstrap, topic, [b"c"])
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 4, copy.evidence()
    (stopped,) = copy.status()["partitions"]
    assert stopped["stop"]["kind"] == "STATE_LOST"
    assert len(read_records(target_cluster, topic)) == 2


def test_a_log_start_that_moves_on_is_followed_where_the_map_says(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    contents = [transactional(source_cluster), trimmed(source_cluster)]
    copy = migration(migrations, tmp_path, source_cluster, target_cluster, contents, {"class": "mapped"})
    copy.start()
    copy.wait_for_state("IN_SYNC")
    for content in contents:
        topic = content.topic
        before = {number: ends for number, ends in read_ends(source_cluster, topic).items() if ends.stable > ends.start}
        assert before, "there is something to trim"
        delete_records(
            source_cluster, topic, {number: (ends.start + ends.stable) // 2 for number, ends in before.items()}
        )
        for number, wanted in mapped_starts(copy, topic).items():
            wait_until(
                f"{topic}-{number} begins at {wanted} on the target",
                lambda topic=topic, number=number, wanted=wanted: (
                    read_ends(target_cluster, topic)[number].start == wanted
                ),
                evidence=copy.evidence,
            )
        assert any(read_ends(target_cluster, topic)[number].start for number in before)
        produce(source_cluster.bootstrap, topic, [b"behind it"] * 3)
    copy.stop()
    run(copy)
    for content in contents:
        assert_mapped(copy, source_cluster, target_cluster, content.topic)
        starts = {number: ends.start for number, ends in read_ends(target_cluster, content.topic).items()}
        assert starts == mapped_starts(copy, content.topic)


def mapped_starts(copy: Migration, topic: str) -> dict[int, int]:
    """Where librdkafka finds the first record of each source partition, or its end, and the map puts it on the target;
    0 where the copy begins."""
    first = {number: min(offsets) for number, offsets in by_partition_offsets(copy.source, topic).items()}
    source, target = read_ends(copy.source, topic), read_ends(copy.target, topic)
    store = Store.open(copy.state_root / copy.name)
    try:
        found = {}
        for number, ends in source.items():
            kept = store.offset_map(TopicPartition(TopicName(topic), Partition(number)))
            last = Ends(Offset(ends.stable), Offset(target[number].end))
            found[number] = kept.to_target(Offset(first.get(number, ends.stable)), last) or 0
        return found
    finally:
        store.close()


def by_partition_offsets(cluster: EmbeddedCluster, topic: str) -> dict[int, list[int]]:
    return {
        number: [offset for offset, _ in records]
        for number, records in by_partition(read_records(cluster, topic)).items()
    }
