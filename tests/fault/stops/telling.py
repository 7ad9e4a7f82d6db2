"""What `kmigrate status -o json` tells of partitions, and the commands that answer it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import kmigrate
from tests.fault.harness import LIVENESS_SECONDS, Document, Migration, wait_until

DONE = 0
USAGE = 2
BLOCKED = 4
"""The exit code of a run that was blocked, or ended with stopped partitions."""


class Told(NamedTuple):
    """One partition, as the status tells it; `kind`, `offset`, `evidence` and `choices` are those of its stop."""

    state: str
    position: int | None
    crc_errors: int
    waived: bool
    kind: str
    offset: int
    evidence: str
    choices: tuple[str, ...]

    @property
    def landed(self) -> list[int]:
        """The target's offsets where, by the evidence, records of ours landed that should not be there."""
        found = re.findall(r"our batch of (\d+) to (\d+) landed at (\d+)", self.evidence)
        return [int(at) + number for first, last, at in found for number in range(int(last) - int(first) + 1)]


def ask_status(copy: Migration) -> Document:
    """The document that `kmigrate status -o json` prints; works with and without an owner."""
    result = copy.command("status", "-o", "json")
    assert result.returncode == DONE, f"{result.stderr}\n{copy.evidence()}"
    document: Document = json.loads(result.stdout)
    return document


def told(document: Document, topic: str, partition: int = 0) -> Told:
    """What a status document tells of one partition."""
    found = [each for each in document["partitions"] if (each["topic"], each["partition"]) == (topic, partition)]
    assert len(found) == 1, f"{topic}-{partition} is {len(found)} times in {document['partitions']}"
    (each,) = found
    stop: dict[str, Any] = each["stop"] or {"kind": "", "offset": -1, "evidence": "", "choices": []}
    return Told(
        state=each["state"],
        position=each["position"],
        crc_errors=each["crcErrors"],
        waived=each["waived"],
        kind=stop["kind"],
        offset=stop["offset"],
        evidence=stop["evidence"],
        choices=tuple(choice["choice"] for choice in stop["choices"]),
    )


def wait_for_stops(copy: Migration, places: Sequence[tuple[str, int]]) -> Document:
    """Wait until these partitions are stopped; returns what `kmigrate status -o json` prints then."""

    def look() -> bool:
        assert copy.exit_code is None, f"the owner ended with code {copy.exit_code}\n{copy.evidence()}"
        document = copy.status()
        if not document["workers"]:
            return False  # the stops are those that the last owner left
        known = {(each["topic"], each["partition"]) for each in document["partitions"]}
        return all(place in known and told(document, *place).state == "STOPPED" for place in places)

    wait_until(f"{places} are stopped", look, evidence=copy.evidence)
    return ask_status(copy)


def wait_for_stop(copy: Migration, topic: str, partition: int = 0) -> Told:
    """Wait until this partition is stopped; returns what `kmigrate status -o json` tells of it."""
    return told(wait_for_stops(copy, [(topic, partition)]), topic, partition)


def answer(copy: Migration, *arguments: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
    """`kmigrate resume` with these arguments, and with a line typed where it asks for one."""
    place = str(Path(kmigrate.__file__).parents[1])
    return subprocess.run(
        [
            *(sys.executable, "-P", "-c", "from kmigrate.cli import main; main()", "resume"),
            *("-f", str(copy.manifest), "--state", str(copy.state_root), *arguments),
        ],
        input="" if typed is None else f"{typed}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=LIVENESS_SECONDS,
        env=os.environ | {"PYTHONPATH": place, "COLUMNS": "160"},
    )
