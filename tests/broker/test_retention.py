"""`kmigrate retention` keeps records on a real source, and gives the topic back what it had."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import REFUSED, Migration, closing_all
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic, new_topic_name

pytestmark = pytest.mark.broker

USAGE = 2
DYNAMIC_TOPIC = 1


def own(cluster: EmbeddedCluster, topic: str) -> dict[str, str]:
    """What the topic has of its own, as librdkafka shows it."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    settings = admin.describe_configs([resource])[resource].result(TIMEOUT_SECONDS)
    return {each.name: each.value for each in settings.values() if each.source == DYNAMIC_TOPIC}


def retention(copy: Migration, *arguments: str, typed: str = "") -> Result:
    place = ["-f", str(copy.manifest), "--state", str(copy.state_root)]
    return CliRunner().invoke(commands, ["retention", arguments[0], *place, *arguments[1:]], input=typed)


@pytest.mark.parametrize("running", [False, True], ids=["without an owner", "with an owner"])
def test_a_retention_is_raised_and_restored(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, running: bool
) -> None:
    before = {"retention.ms": "3600000", "segment.ms": "60000"}
    topic = create_topic(source_cluster.bootstrap, config=before)
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("retention"))
    with closing_all([copy]):
        if running:
            copy.start()
            copy.wait_for_state("IN_SYNC")
        refused = retention(copy, "raise", "-t", topic, typed="orders\n")
        assert (refused.exit_code, own(source_cluster, topic)) == (USAGE, before)
        raised = retention(copy, "raise", "-t", topic, typed=f"{topic}\n")
        assert raised.exit_code == 0, raised.output
        assert own(source_cluster, topic) == {**before, "retention.ms": "-1", "retention.bytes": "-1"}
        restored = retention(copy, "restore", "-t", topic, "--yes")
        assert restored.exit_code == 0, restored.output
        assert own(source_cluster, topic) == before
        assert retention(copy, "restore", "-t", topic, "--yes").exit_code == USAGE, "nothing is raised any more"


def test_what_somebody_else_altered_meanwhile_is_left_as_it_is(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("retention"))
    assert retention(copy, "raise", "-t", topic, "--hours", "48", "--yes").exit_code == 0
    resource = ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.ms": "7200000"})
    admin = AdminClient({"bootstrap.servers": source_cluster.bootstrap})
    admin.alter_configs([resource])[resource].result(TIMEOUT_SECONDS)
    refused = retention(copy, "restore", "-t", topic, "--yes")
    assert refused.exit_code == REFUSED, refused.output
    assert own(source_cluster, topic) == {"retention.ms": "7200000"}
