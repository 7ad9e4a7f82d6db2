"""A release is formatted and started once; every later cluster profits from what that leaves behind.

What stays in `<jars>/first-start`:

* In KRaft mode `meta.properties` and `bootstrap.checkpoint`, written by Kafka's StorageTool: later nodes
  get copies with ids of their own instead of a JVM each.
* `classes.jsa`, the loaded classes as Java's class data sharing keeps them. It halves the time to an
  answering broker. A Java that cannot use it (another version, moved jars) ignores it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from kmigrate.demo.kafka_node import HOST, Jvm, KafkaNode
from kmigrate.demo.quorum import INTERNAL, Brokers, quorum_of
from kmigrate.demo.readiness import list_known_brokers
from kmigrate.errors import KmigrateError

FOLDER = "first-start"
_CLASSES = "classes.jsa"
_BROKER = 1
_PATIENCE_SECONDS = 120.0


class FirstStartFailed(KmigrateError):
    """A release could not be started."""


def ensure_first_start(jars: Path, version: str) -> Path:
    """Return the folder with the leavings of a first start, after making one if needed."""
    folder = jars / FOLDER
    if folder.is_dir():
        return folder
    unfinished = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=jars))
    try:
        _start_once(jars, version, unfinished)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was quicker; its folder is as good
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def class_archive(first_start: Path) -> Path | None:
    """The archive of loaded classes, if Java could write one."""
    archive = first_start / _CLASSES
    return archive if archive.exists() else None


def _start_once(jars: Path, version: str, leavings: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="kmigrate-first-start-"))
    quorum = quorum_of(version, Brokers(ids=(_BROKER,)))
    nodes = {
        plan.node_id: KafkaNode(
            plan,
            jars=jars,
            folder=scratch / f"node-{plan.node_id}",
            log=scratch / f"node-{plan.node_id}.log",
            jvm=Jvm(quick=True, dump_classes_to=leavings / _CLASSES if plan.node_id == _BROKER else None),
        )
        for plan in quorum.plan_nodes().values()
    }
    try:
        for node in nodes.values():
            quorum.format_first(node, leavings)
            node.start()
        _wait_for_answer(nodes[_BROKER])
        nodes[_BROKER].stop(patience_seconds=_PATIENCE_SECONDS)  # the archive is written at an orderly exit
    finally:
        for node in nodes.values():
            node.kill()
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for_answer(node: KafkaNode) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while list_known_brokers(HOST, node.plan.ports[INTERNAL]) != frozenset({node.plan.node_id}):
        if node.exit_code is not None or time.monotonic() > deadline:
            raise FirstStartFailed(f"Kafka does not start:\n{node.log_tail(20)}", hint="Java 17 or newer is needed")
        time.sleep(0.05)
