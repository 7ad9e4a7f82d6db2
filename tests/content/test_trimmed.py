"""Trimmed content really begins where it says, once between two batches and once inside one."""

from __future__ import annotations

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.judging import read_ends, read_records
from tests.content.trimmed import BETWEEN, EMPTY, INSIDE, LOG_STARTS, trimmed
from tests.kafka_tools import dump_log

pytestmark = pytest.mark.broker


def test_logs_begin_between_two_batches_inside_one_and_at_their_end(source_cluster: EmbeddedCluster) -> None:
    content = trimmed(source_cluster)
    ends = read_ends(source_cluster, content.topic)
    assert {partition: found.start for partition, found in ends.items()} == LOG_STARTS
    assert ends[EMPTY].start == ends[EMPTY].end
    assert set(read_records(source_cluster, content.topic)) == content.visible
    for partition, at_an_edge in ((BETWEEN, True), (INSIDE, False)):
        batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic, partition)
        assert (LOG_STARTS[partition] in {batch["baseOffset"] for batch in batches}) == at_an_edge
