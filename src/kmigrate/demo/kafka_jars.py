"""Kafka's own jars lie in one folder for each release, fetched from Maven Central when missing.

`pom.xml` beside this module names the jars of every release that can be fetched. A folder appears
complete or not at all: Maven fills a temporary one, which is then renamed.

`python -m kmigrate.demo.kafka_jars 3.9.1 4.3.1` fetches what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from kmigrate.errors import KmigrateError

HOME_VARIABLE = "KMIGRATE_KAFKA_HOME"
_MAVEN_GOAL = "dependency:copy-dependencies"
_SHOWN_LINES = 15


class KafkaJarsMissing(KmigrateError):
    """The jars of a release are not here and could not be fetched."""


def kafka_home() -> Path:
    """The folder of all releases: `$KMIGRATE_KAFKA_HOME`, or `.kafka` in the working directory."""
    return Path(os.environ.get(HOME_VARIABLE) or ".kafka").absolute()


def known_versions() -> tuple[str, ...]:
    """The releases that `pom.xml` has a profile for."""
    return tuple(re.findall(r"<id>kafka-([\d.]+)</id>", _pom().read_text(encoding="utf-8")))


def ensure_kafka(version: str, root: Path | None = None, *, say: Callable[[str], None] = lambda line: None) -> Path:
    """Return the folder with the jars of a Kafka release, after fetching them if they are missing.

    `say` is told when a fetch begins, since it takes from seconds to minutes.
    """
    home = kafka_home() if root is None else root.absolute()
    folder = home / version
    if folder.is_dir():
        return folder
    if version not in known_versions():
        known = ", ".join(known_versions())
        raise KafkaJarsMissing(f"Kafka {version} cannot be fetched", hint=f"known releases: {known}")
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaJarsMissing(
            f"Kafka {version} is not in {home}, and Maven is needed to fetch it",
            hint="install Maven, so that `mvn` is on the PATH, "
            f"or set {HOME_VARIABLE} to a folder that has {version}/*.jar",
        )
    say(f"fetching Kafka {version} from Maven Central into {folder}")
    home.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=home))
    try:
        _fetch(maven, version, unfinished)
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _pom() -> resources.abc.Traversable:
    return resources.files(__package__).joinpath("pom.xml")


def _fetch(maven: str, version: str, folder: Path) -> None:
    with resources.as_file(_pom()) as pom:
        command = [maven, "--batch-mode", "--quiet", "--file", str(pom)]
        command += [f"-Dkafka.version={version}", f"-Djars.folder={folder}", _MAVEN_GOAL]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        shown = "\n".join(result.stdout.strip().splitlines()[:_SHOWN_LINES])
        hint = "is Maven Central reachable? ~/.m2/settings.xml can name a mirror"
        if "JAVA_HOME" in result.stdout or shutil.which("java") is None:
            hint = "install Java 17 or newer, or set JAVA_HOME"
        raise KafkaJarsMissing(f"Maven could not fetch Kafka {version}:\n{shown}", hint=hint)
    if not any(folder.glob("kafka_*.jar")):
        raise KafkaJarsMissing(f"Maven ended well but brought no Kafka {version}", hint="see pom.xml in kmigrate/demo")


def _publish(unfinished: Path, folder: Path) -> None:
    unfinished.chmod(0o755)
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # somebody else may have fetched it meanwhile; theirs is as good
            raise


def main(arguments: list[str]) -> int:
    """Fetch the named releases; returns an exit code."""
    try:
        for version in arguments:
            ensure_kafka(version, say=lambda line: print(line, flush=True))
    except KafkaJarsMissing as missing:
        print(f"{missing}\nhint: {missing.hint}", file=sys.stderr)
        return missing.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
