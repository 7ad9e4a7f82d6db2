"""Old formats really lie in the segment files of an old broker."""

from __future__ import annotations

from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.content import Content
from tests.content.judging import read_records
from tests.content.old_formats import CODECS, RECORDS, OldFormats, old_formats
from tests.kafka_tools import dump_log

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def topics(old_cluster: EmbeddedCluster) -> OldFormats:
    return old_formats(old_cluster)


def test_readers_see_what_was_written(old_cluster: EmbeddedCluster, topics: OldFormats) -> None:
    for content in topics:
        assert set(read_records(old_cluster, content.topic)) == content.visible
    for content in topics[:4]:
        records = read_records(old_cluster, content.topic).values()
        assert {record.key for record in records} >= {None, b"", b"key 2"}
        assert {record.value for record in records} >= {None, b""}
    assert {record.timestamp for record in read_records(old_cluster, topics.v0.topic).values()} == {-1}


def test_every_codec_lies_there_in_the_formats_v0_and_v1(old_cluster: EmbeddedCluster, topics: OldFormats) -> None:
    for content, formats in zip(topics[:4], ({0}, {1}, {1}, {0, 1, 2}), strict=True):
        batches = _dump(old_cluster, content)
        assert {batch["magic"] for batch in batches} == formats
        for magic in formats:
            assert {batch["compresscodec"] for batch in batches if batch["magic"] == magic} == set(CODECS)
        assert max(len(batch["records"]) for batch in batches) == RECORDS
    assert all("LogAppendTime" in batch for batch in _dump(old_cluster, topics.v1_log_append_time))


def test_compressed_messages_of_old_formats_have_holes(old_cluster: EmbeddedCluster, topics: OldFormats) -> None:
    for content, magic in ((topics.v0_compacted, 0), (topics.v1_compacted, 1)):
        batches = _dump(old_cluster, content)
        assert {batch["magic"] for batch in batches} == {magic}
        assert {batch["compresscodec"] for batch in batches} == {"none", "gzip", "snappy"}
        offsets = [[record["offset"] for record in batch["records"]] for batch in batches]
        assert any(each[-1] - each[0] >= len(each) for each in offsets), "inside a compressed message"
        assert sorted((0, offset) for each in offsets for offset in each) == sorted(content.visible)


def _dump(cluster: EmbeddedCluster, content: Content) -> list[dict[str, Any]]:
    """What the newer release's tool prints: it reads old formats, too, and prints all alike."""
    batches = dump_log(SOURCE_VERSION, cluster.data_dir(1), content.topic, deep=True)
    assert all(batch["isvalid"] for batch in batches)
    return batches
