"""`kmigrate report` on real clusters: what was copied and verified is accounted for, and a changed byte is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.state.store import FILE_NAME
from tests.content.transactional import transactional
from tests.fault.harness import REFUSED, Migration, closing_all
from tests.kafka_tools import create_topic, new_topic_name, produce

pytestmark = pytest.mark.broker

RECORDS = 500


@pytest.fixture
def migrations() -> Iterator[list[Migration]]:
    made: list[Migration] = []
    with closing_all(made):
        yield made


def report(copy: Migration) -> dict[str, Any]:
    result = copy.command("report", "-o", "json")
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_migration_is_accounted_for_and_a_changed_byte_of_its_journal_is_named(
    migrations: list[Migration], tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    plain = create_topic(source_cluster.direct_bootstrap, partitions=3)
    produce(source_cluster.direct_bootstrap, plain, [b"record %d" % number for number in range(RECORDS)])
    aborted = transactional(source_cluster).topic
    copy = Migration(tmp_path, source_cluster, target_cluster, [plain, aborted], name=new_topic_name("report"))
    migrations.append(copy)
    copy.start()
    copy.wait_in_sync()
    assert copy.command("pause").returncode == 0
    live = report(copy)
    assert live["chain"]["holds"]
    assert [each["kind"] for each in live["journal"]][-1] == "pause"
    assert copy.command("resume").returncode == 0
    copy.wait_in_sync()
    copy.stop()
    assert copy.command("verify").returncode == 0

    document = report(copy)
    # groups of other tests have commits for other topics, which a report tells too
    topics = {each["topic"]: each for each in document["topics"] if each["topic"] in (plain, aborted)}
    assert topics.keys() == {plain, aborted}
    assert sum(each["position"] for each in topics[plain]["partitions"]) == RECORDS
    for topic in topics.values():
        assert topic["settings"]["held"]
        for each in topic["partitions"]:
            (verification,) = each["verifications"]
            assert (verification["mode"], verification["verdict"]) == ("records", "equal")
            assert (verification["end"], each["targetEnd"]) == (each["position"], each["position"])
            assert each["offsetClass"] == "identical"
    assert {each["side"] for each in document["clusters"] if each["clusterId"]} == {"source", "target"}
    assert [each["hash"] for each in live["journal"]] == [
        each["hash"] for each in document["journal"][: len(live["journal"])]
    ], "a head that was noted is in every later report"
    for form in ("md", "html"):
        result = copy.command("report", "-o", form)
        assert result.returncode == 0
        assert document["chain"]["headHash"] in result.stdout
        assert plain in result.stdout

    (run,) = (each for each in document["journal"] if each["kind"] == "run")
    path = copy.state_root / copy.name / FILE_NAME
    content = path.read_bytes()
    written = f'"target":"{run["detail"]["target"]}"'.encode()
    assert content.count(written) == 1, "nobody has the database open, so that all of it is in the file"
    path.write_bytes(content.replace(written, written[:-2] + bytes([written[-2] ^ 1]) + written[-1:]))
    result = copy.command("report")
    assert result.returncode == REFUSED
    assert f"from entry {run['number']} on" in result.stderr
    assert f"broken from entry {run['number']} on" in result.stdout
