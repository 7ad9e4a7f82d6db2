"""What every story of the demo stands on: a folder, two clusters, the copier, and clients that look on.

Rule: whatever is made has a place here before it is made, and processes are tied to this one besides, so that an end
at any moment, also by Ctrl-C, leaves no process, folder or socket behind.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from kmigrate.demo.children import end_child, start_child
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.first_start import FOLDER as FIRST_START
from kmigrate.demo.first_start import ensure_first_start
from kmigrate.demo.kafka_jars import ensure_kafka
from kmigrate.demo.narrator import Narrator
from kmigrate.errors import KmigrateError

if TYPE_CHECKING:
    from kmigrate.demo.witness import Witness

SOURCE_VERSION = "3.9.1"
TARGET_VERSION = "4.3.1"
NAME = "demo"


class DemoFailed(KmigrateError):
    """Something in the demo did not go as the story wants it."""


class Stage:
    """Holds what a story starts. `folder` has the manifest, the state and the logs."""

    def __init__(self, narrator: Narrator, *, kafka_home: Path | None, color: bool) -> None:
        self.narrator = narrator
        self.color = color
        self.folder = Path(tempfile.gettempdir()) / f"kmigrate-demo-{secrets.token_hex(4)}"
        self.manifest = self.folder / "demo.yaml"
        self.state = self.folder / "state"
        self._kafka_home = kafka_home
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="cluster-start")
        self._starts: list[Future[EmbeddedCluster]] = []
        self._clusters: list[EmbeddedCluster] = []
        self._copier: subprocess.Popen[bytes] | None = None
        self._witnesses = contextlib.ExitStack()

    @property
    def environment(self) -> dict[str, str]:
        """What every command of kmigrate is run with: an owner that was killed leaves its socket in our folder."""
        return {"XDG_RUNTIME_DIR": str(self.folder)}

    def start_clusters(
        self, *, properties: Mapping[str, str] | None = None, listeners: Mapping[str, str] | None = None
    ) -> tuple[EmbeddedCluster, EmbeddedCluster]:
        """Makes the folder and starts the source and the target, side by side."""
        self.folder.mkdir(mode=0o700)
        for version in (SOURCE_VERSION, TARGET_VERSION):
            jars = ensure_kafka(version, self._kafka_home, say=self.narrator.say)
            if not (jars / FIRST_START).is_dir():
                self.narrator.say(f"Kafka {version} is started for the first time, which takes some seconds once")
            ensure_first_start(jars, version)
        self._clusters = [
            EmbeddedCluster(
                version,
                kafka_home=self._kafka_home,
                properties=properties,
                listeners=listeners,
                say=self.narrator.say,
            )
            for version in (SOURCE_VERSION, TARGET_VERSION)
        ]
        self._starts = [self._pool.submit(cluster.start) for cluster in self._clusters]
        wait(self._starts, return_when=FIRST_EXCEPTION)
        source, target = (start.result() for start in self._starts)
        for name, cluster in (("source", source), ("target", target)):
            self.narrator.say(f"{name}: Kafka {cluster.version} at {cluster.bootstrap}, cluster {cluster.cluster_id}")
        return source, target

    def open_witness(self, cluster: EmbeddedCluster) -> Witness:
        """An independent client of a cluster."""
        from kmigrate.demo.witness import Witness

        return self._witnesses.enter_context(Witness(cluster.bootstrap))

    def write_manifest(self, text: str) -> None:
        """Writes the manifest and shows it."""
        self.manifest.write_text(text, encoding="utf-8")
        self.narrator.say(f"{self.manifest}:")
        self.narrator.show_yaml(text)

    def start_copier(self, *more: str, view: Path | None = None) -> subprocess.Popen[bytes]:
        """Starts `kmigrate run`; its live view goes to the terminal, or into a file."""
        arguments = ["run", "-f", str(self.manifest), "--state", str(self.state), *more]
        self.narrator.show_command(" ".join(["kmigrate", *arguments]))
        if not self.color or view is not None:
            arguments.append("--no-color")
        self._copier = start_child("kmigrate.cli", arguments, environment=self.environment, errors=view)
        return self._copier

    def copier_failed(self, copier: subprocess.Popen[bytes]) -> DemoFailed:
        return DemoFailed(
            f"kmigrate run ended with code {copier.returncode}", hint=f"see {self.state / NAME / 'kmigrate.log'}"
        )

    def end_copier(self) -> None:
        """Ends the copier if it runs, and with it its view."""
        if self._copier is not None and self._copier.returncode is None:
            end_child(self._copier)
            self.narrator.mend_terminal()

    def end(self, *, failed: bool, keep: bool, clients: Callable[[], None]) -> None:
        """Ends whatever runs, `clients` between the copier and the clusters; after a failure the logs stay."""
        self.end_copier()
        clients()
        self._pool.shutdown(cancel_futures=True)  # a cluster that is starting is closed once it has started
        self._witnesses.close()
        for cluster in self._clusters:
            cluster.close(failed=failed)
        if not self.folder.exists():
            return
        if failed or keep:
            logs = ", ".join(str(path.relative_to(self.folder)) for path in sorted(self.folder.rglob("*.log")))
            self.narrator.say(f"kept: {self.folder}" + (f" with the logs {logs}" if logs else ""))
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
