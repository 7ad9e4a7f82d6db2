"""Compacted content really has holes of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.compacted import COMMITS, compacted, compacted_transactional
from tests.content.judging import read_ends, read_records
from tests.kafka_tools import dump_log

pytestmark = pytest.mark.broker


def test_holes_are_inside_batches_between_them_and_at_the_start(source_cluster: EmbeddedCluster) -> None:
    content = compacted(source_cluster)
    ends = read_ends(source_cluster, content.topic)
    records = read_records(source_cluster, content.topic)
    assert set(records) == content.visible
    assert any(record.value is None for record in records.values()), "tombstones are there"
    plain, with_ids = (
        dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic, partition, deep=True)
        for partition in (0, 1)
    )
    for partition, batches in enumerate((plain, with_ids)):
        assert ends[partition].start == 0
        assert min(offset for at, offset in content.visible if at == partition) > 0
        assert _places_of_holes(batches) == {"first", "middle", "last"}
        assert any(batch["deleteHorizonMs"] for batch in batches if "deleteHorizonMs" in batch)
        assert {batch["compresscodec"] for batch in batches if batch["count"]} > {"gzip", "none"}
    assert any(after["baseOffset"] > before["lastOffset"] + 1 for before, after in pairwise(plain))
    assert [batch for batch in with_ids if batch["count"] == 0], "an emptied batch keeps its id's sequence"
    assert not [batch for batch in plain if batch["count"] == 0]


def test_tombstones_are_removed_where_their_time_is_over(source_cluster: EmbeddedCluster) -> None:
    content = compacted(source_cluster, delete_retention_ms=100)
    records = read_records(source_cluster, content.topic)
    assert set(records) == content.visible
    assert all(record.value is not None for record in records.values())


def test_data_and_markers_of_transactions_are_removed(source_cluster: EmbeddedCluster) -> None:
    content = compacted_transactional(source_cluster)
    assert set(read_records(source_cluster, content.topic)) == content.visible
    batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic, deep=True)
    data = [batch for batch in batches if not batch["isControl"] and batch["isTransactional"]]
    assert data
    assert _places_of_holes(data) == {"first", "middle", "last"}
    assert {batch["compresscodec"] for batch in data} == {"none", "lz4"}
    markers = [batch["baseOffset"] for batch in batches if batch["isControl"] and batch["count"]]
    assert 0 < len(markers) < COMMITS, "some are left, not even those of all commits"
    assert any(after["baseOffset"] > before["lastOffset"] + 1 for before, after in pairwise(batches))


def _places_of_holes(batches: Sequence[dict[str, Any]]) -> set[str]:
    """Where in a batch that still has records the missing ones were."""
    found = set()
    for batch in batches:
        offsets = {record["offset"] for record in batch["records"]}
        for missing in set(range(batch["baseOffset"], batch["lastOffset"] + 1)) - offsets if offsets else ():
            at_an_end = {min(offsets) > missing: "first", max(offsets) < missing: "last"}
            found.add(at_an_end.get(True, "middle"))
    return found
