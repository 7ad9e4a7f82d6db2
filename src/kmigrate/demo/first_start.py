"""A release is formatted and started once; every later cluster profits from what that leaves behind.

What stays in `<jars>/first-start`:

* `meta.properties` and `bootstrap.checkpoint`, written by Kafka's StorageTool. Only three ids in the
  former belong to one node, so later nodes get copies with ids of their own instead of a JVM each.
* `classes.jsa`, the loaded classes as Java's class data sharing keeps them. It halves the time to an
  answering broker. A Java that cannot use it (another version, moved jars) ignores it.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path

from kmigrate.demo.kafka_node import CLIENTS, CONTROLLER, HOST, INTERNAL, Jvm, KafkaNode, NodePlan
from kmigrate.demo.ports import find_free_ports
from kmigrate.demo.readiness import list_known_brokers
from kmigrate.errors import KmigrateError

FOLDER = "first-start"
_CLASSES = "classes.jsa"
_FORMATTED = ("meta.properties", "bootstrap.checkpoint")  # the latter is not written by old releases
_PATIENCE_SECONDS = 120.0


class FirstStartFailed(KmigrateError):
    """A release could not be formatted or started."""


def random_uuid() -> str:
    """A UUID as Kafka spells it: 22 characters of URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):
            return text


def ensure_first_start(jars: Path) -> Path:
    """Return the folder with the leavings of a first start, after making one if needed."""
    folder = jars / FOLDER
    if folder.is_dir():
        return folder
    unfinished = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=jars))
    try:
        _start_once(jars, unfinished)
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


def format_node(first_start: Path, node: KafkaNode, cluster_id: str) -> None:
    """Format a node's data folder as StorageTool would, for the given cluster."""
    node.data.mkdir(parents=True, exist_ok=True)
    ids = {"cluster.id": cluster_id, "node.id": str(node.plan.node_id), "directory.id": random_uuid()}
    for name in _FORMATTED:
        template = first_start / name
        if template.exists():
            shutil.copyfile(template, node.data / name)
    meta = node.data / "meta.properties"
    pairs = [line.split("=", 1) for line in meta.read_text(encoding="utf-8").splitlines() if "=" in line]
    lines = [f"{key}={ids.get(key, value)}" for key, value in pairs]
    meta.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _start_once(jars: Path, result: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="kmigrate-first-start-"))
    clients, internal, controller = find_free_ports(3)
    plan = NodePlan(
        node_id=1,
        roles=("broker", "controller"),
        ports={CLIENTS: clients, INTERNAL: internal, CONTROLLER: controller},
        protocols=dict.fromkeys((CLIENTS, INTERNAL, CONTROLLER), "PLAINTEXT"),
        voters={1: controller},
        brokers=1,
    )
    jvm = Jvm(heap="512m", quick=True)
    log = scratch / "kafka.log"
    node = KafkaNode(plan, jars=jars, folder=scratch / "node", log=log, jvm=jvm)
    command = node.command(
        "kafka.tools.StorageTool",
        *("format", "--cluster-id", random_uuid(), "--config", str(node.properties_file)),
    )
    try:
        formatted = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if formatted.returncode != 0:
            raise FirstStartFailed(f"Kafka in {jars} cannot be formatted:\n{formatted.stdout[-2000:]}")
        for name in _FORMATTED:
            if (node.data / name).exists():
                shutil.copyfile(node.data / name, result / name)
        dumping = replace(jvm, dump_classes_to=result / _CLASSES)
        node = KafkaNode(plan, jars=jars, folder=scratch / "node", log=log, jvm=dumping)
        node.start()
        _wait_for_answer(node, internal)
        node.stop(patience_seconds=_PATIENCE_SECONDS)  # the archive is written at an orderly exit
    finally:
        node.kill()
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for_answer(node: KafkaNode, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while list_known_brokers(HOST, port) != frozenset({node.plan.node_id}):
        if node.exit_code is not None or time.monotonic() > deadline:
            raise FirstStartFailed(f"Kafka does not start:\n{node.log_tail(20)}", hint="Java 17 or newer is needed")
        time.sleep(0.05)
