"""Content with odd timestamps really shows them."""

from __future__ import annotations

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.judging import read_records
from tests.content.timestamps import BATCH_RECORDS, CODECS, draw_odd_timestamps, log_append_time, odd_timestamps
from tests.kafka_tools import dump_log

pytestmark = pytest.mark.broker


def test_batches_of_every_codec_bear_the_time_of_their_append(source_cluster: EmbeddedCluster) -> None:
    content = log_append_time(source_cluster)
    assert set(read_records(source_cluster, content.topic)) == content.visible
    batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic, deep=True)
    stamped = [batch for batch in batches if "LogAppendTime" in batch]
    assert {batch["compresscodec"] for batch in stamped} == set(CODECS)
    assert {batch["count"] for batch in stamped} >= {1, BATCH_RECORDS}
    assert any("CreateTime" in batch for batch in batches), "between the others"
    many = next(batch for batch in stamped if batch["count"] > 1)
    assert {record["LogAppendTime"] for record in many["records"]} == {many["LogAppendTime"]}


def test_timestamps_of_every_odd_kind_are_there(source_cluster: EmbeddedCluster) -> None:
    content = odd_timestamps(source_cluster)
    records = read_records(source_cluster, content.topic)
    assert set(records) == content.visible
    found = {record.timestamp for record in records.values()}
    now_ms = max(found) // 1_000_000  # there is one in nanoseconds
    for timestamps in draw_odd_timestamps(now_ms).values():
        assert set(timestamps) <= found
    batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic, deep=True)
    spans = [
        max(record["CreateTime"] for record in batch["records"]) - batch["records"][0]["CreateTime"]
        for batch in batches
    ]
    assert max(spans) > 2**31
