"""The process that copies back ends with the pipe to its owner, and says why it ends by itself."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest import load_manifest
from kmigrate.runner import back_child
from kmigrate.runner.back_child import BackChild
from kmigrate.runner.back_manifest import derive
from kmigrate.runner.back_messages import BackSettings, Word
from tests.fault.harness import wait_until

P0 = TopicPartition(TopicName("orders"), Partition(0))
MANIFEST = """
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: shop}
spec:
  source: {properties: {bootstrap.servers: "127.0.0.1:1"}}
  target: {properties: {bootstrap.servers: "127.0.0.1:2"}}
"""
LISTENER = """
import logging, sys
from multiprocessing.connection import Connection
from kmigrate.kafka_types import TopicPartition
from kmigrate.runner.back_messages import Told, Word
from kmigrate.runner.back_process import Line, log_up
connection = Connection(int(sys.argv[1]))
connection.recv()
line = Line(connection)
line.listen()
log_up(line)
logging.getLogger("kmigrate.test").warning("copying %s back", "orders")
line.say(Told({TopicPartition("orders", 0): Word(12, None)}, "IN_SYNC", "all of it"))
line.ended.wait()
"""
"""What the real process does with its pipe, and nothing else."""


@pytest.fixture
def settings(tmp_path: Path) -> BackSettings:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    return BackSettings(manifest=derive(load_manifest(path, environ={}), [P0.topic]), folder=tmp_path / "state")


def test_it_tells_and_ends_with_the_pipe(
    settings: BackSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(back_child, "COMMAND", (sys.executable, "-P", "-c", LISTENER))
    child = BackChild(settings)
    try:
        words = wait_until("it is heard", child.words, evidence=lambda: str(child.trouble))
        assert words == {P0: Word(Offset(12), None)}
        assert (child.state, child.trouble) == (("IN_SYNC", "all of it"), ("", ""))
        told = [(each.name, each.levelno, each.getMessage()) for each in caplog.records]
        assert told == [("kmigrate.test (back)", logging.WARNING, "copying orders back")]
    finally:
        child.end()
    assert (child.is_alive, child.words()) == (False, {})


def test_where_a_cluster_is_away_it_ends_with_the_reason(settings: BackSettings) -> None:
    child = BackChild(settings)
    try:
        wait_until("it ends", lambda: not child.is_alive)
        wait_until("it says why", lambda: "127.0.0.1:2" in child.trouble[0], evidence=lambda: str(child.trouble))
    finally:
        child.end()


def test_one_that_is_killed_is_told_by_its_exit_code(settings: BackSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_child, "COMMAND", (sys.executable, "-P", "-c", LISTENER))
    child = BackChild(settings)
    wait_until("it is heard", child.words)
    child.kill()
    assert "exit code -9" in child.trouble[0]
    child.end()
