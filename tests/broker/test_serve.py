"""`kmigrate serve` holds two migrations side by side on real brokers, through kills of an owner and of itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.runner.folder import MigrationFolder
from tests.fault.harness import LIVENESS_SECONDS, Migration, is_alive, log_ends, wait_until
from tests.kafka_tools import SentRecord, create_topic, new_topic_name, produce, read_all

pytestmark = pytest.mark.broker


class Serve:
    """A serve in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "state"
        self.errors = folder / "serve.stderr"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen([*_KMIGRATE, "serve", "--state", str(self.root)], stderr=errors)

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(LIVENESS_SECONDS)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def command(self, *arguments: str) -> None:
        done = subprocess.run(
            [*_KMIGRATE, "serve", *arguments, "--state", str(self.root)],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIVENESS_SECONDS,
        )
        assert done.returncode == 0, done.stderr + self.evidence()

    def owner(self, name: str) -> int | None:
        note = MigrationFolder(self.root, name).find_owner()
        return None if note is None else note.pid

    def evidence(self) -> str:
        return self.errors.read_text() if self.errors.exists() else ""


_KMIGRATE = [sys.executable, "-m", "kmigrate"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serve = Serve(tmp_path)
    yield serve
    serve.close()


def test_two_migrations_side_by_side_survive_the_death_of_an_owner_and_of_serve(
    tmp_path: Path, serve: Serve, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    moves = []
    for _ in range(2):
        name = new_topic_name("serve")
        topic = create_topic(source_cluster.bootstrap, partitions=2)
        spec = {"groups": {"include": [f"{name}-.*"]}, "workers": 1}
        moves.append(Migration(tmp_path, source_cluster, target_cluster, [topic], name=name, spec=spec))
    first, second = moves

    def write_and_compare(number: int) -> None:
        for move in moves:
            (topic,) = move.topics
            values = [SentRecord(value=b"%d-%d" % (number, n), partition=n % 2) for n in range(50)]
            produce(source_cluster.bootstrap, topic, values)
        for move in moves:
            wait_until(
                "everything is on the target",
                lambda move=move: log_ends(source_cluster, move.topics) == log_ends(target_cluster, move.topics),
                evidence=serve.evidence,
            )
            (topic,) = move.topics
            assert read_all(source_cluster.bootstrap, topic) == read_all(target_cluster.bootstrap, topic)

    serve.start()
    for move in moves:
        serve.command("add", str(move.manifest))
    write_and_compare(1)
    assert first.command("status").returncode == 0

    killed, other = serve.owner(first.name), serve.owner(second.name)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until("another owner runs", lambda: serve.owner(first.name) not in (None, killed), evidence=serve.evidence)
    write_and_compare(2)
    assert serve.owner(second.name) == other, "it was not disturbed"

    owners = [serve.owner(move.name) for move in moves]
    assert serve.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until("no owner runs on unseen", lambda: not any(pid and is_alive(pid) for pid in owners))
    serve.start()
    write_and_compare(3)

    serve.command("stop", first.name)
    assert serve.owner(first.name) is None
    assert serve.end(signal.SIGTERM) == 0
    assert serve.owner(second.name) is None
    assert {move.status()["state"] for move in moves} == {"ENDED"}
