"""Content of every shape is really read back as it was laid out, and lies in batches as it was meant to."""

from __future__ import annotations

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.judging import read_records
from tests.content.shapes import INFLATED_BYTES, MANY_HEADERS, MANY_RECORDS, MEGABYTE, NOT_UTF8, draw_shapes, shapes
from tests.kafka_tools import dump_log

pytestmark = pytest.mark.broker


def test_records_are_read_as_they_were_laid_out(source_cluster: EmbeddedCluster) -> None:
    content = shapes(source_cluster)
    found = read_records(source_cluster, content.topic)
    assert set(found) == content.visible
    laid_out = [record for shape in draw_shapes() for record in shape.records]
    for offset, record in enumerate(laid_out):
        assert found[0, offset][:4] == (record.key, record.value, record.headers, record.timestamp_ms)
    assert any(record.headers == NOT_UTF8 for record in found.values())
    assert max(len(record.headers) for record in found.values()) == MANY_HEADERS
    assert max(len(record.value or b"") for record in found.values()) == INFLATED_BYTES

    batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic)
    assert {1, MANY_RECORDS} < {batch["count"] for batch in batches}
    assert max(batch["size"] for batch in batches) > MEGABYTE
