"""The judge's ledger as files: one for each time that an application ran, lines appended as a whole.

Rule: what was handed to `write` is with the operating system when `flush` returns, so that a killed application loses
nothing that it has committed for. A line that a crash cut short does not count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kmigrate.demo.service.entries import Identity, Kind, ServiceLedger, entry_line

_ENDING = ".entries"


class Notes:
    """Writes what one run of an application notes down."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        self._lines = [kind.to_line()]
        self.flush()

    def write(self, record: Identity, topic: str, partition: int, offset: int | None, at_ns: int) -> None:
        """Notes one record, with the next `flush`."""
        self._lines.append(entry_line(record, topic, partition, offset, at_ns))

    def flush(self) -> None:
        """Hands over what was noted."""
        left = "".join(f"{line}\n" for line in self._lines).encode()
        self._lines.clear()
        while left:
            left = left[os.write(self._file, left) :]

    def close(self) -> None:
        """Hands over the rest."""
        self.flush()
        os.close(self._file)


def notes_path(folder: Path, name: str, run: int) -> Path:
    """Where one run of an application notes down what it does."""
    return folder / f"{name}.{run}{_ENDING}"


def read_notes(folder: Path, expected: Mapping[str, frozenset[str]]) -> ServiceLedger:
    """All that was noted so far, also while applications run."""
    ledger = ServiceLedger(expected=expected)
    for path in sorted(folder.glob(f"*{_ENDING}")):
        with path.open(encoding="utf-8", newline="\n") as lines:
            ledger.add(lines)
    return ledger
