"""Everything a partition can hold, from every release to every release, at the same offsets; Kafka's clients judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.compacted import compacted, compacted_transactional
from tests.content.content import Content
from tests.content.judging import assert_copied
from tests.content.old_formats import old_formats
from tests.content.shapes import shapes
from tests.content.timestamps import log_append_time, odd_timestamps
from tests.content.transactional import transactional
from tests.content.trimmed import trimmed
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, closing_all

pytestmark = pytest.mark.broker

SOURCES = ("2.8.2", "3.9.1", "4.3.1")
TARGETS = ("3.9.1", "4.1.1", "4.3.1")
PAIRS = [(source, target) for source in SOURCES for target in TARGETS]
OLD_RELEASE = "2.8.2"

Maker = Callable[[EmbeddedCluster], Content]
MAKERS: tuple[Maker, ...] = (
    transactional,
    compacted,
    trimmed,
    log_append_time,
    odd_timestamps,
    shapes,
)


def make_contents(cluster: EmbeddedCluster) -> list[Content]:
    """Every content that this release can hold."""
    made = [make(cluster) for make in MAKERS]
    if cluster.version == OLD_RELEASE:
        made += [each for each in old_formats(cluster) if isinstance(each, Content)]
    else:
        made.append(compacted_transactional(cluster))
    return made


@cells(long=len(PAIRS), sample=1)
def test_every_content_is_copied_exactly(
    cell: Cell, tmp_path: Path, start_cluster: Callable[..., EmbeddedCluster]
) -> None:
    source_version, target_version = cell.pick(PAIRS)
    cell.note("pair", f"{source_version} to {target_version}")
    source, target = start_cluster(source_version), start_cluster(target_version)
    contents = make_contents(source)
    copy = Migration(tmp_path, source, target, [each.topic for each in contents], name="contents")
    with closing_all([copy]):
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == 0, copy.evidence()
        verdicts = [assert_copied(source, target, content) for content in contents]
        cell.note("records", sum(len(verdict.seen) for verdict in verdicts))
        cell.note("gaps", sum(verdict.gaps for verdict in verdicts))
        assert sum(verdict.gaps for verdict in verdicts) > 0
