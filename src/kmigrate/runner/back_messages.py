"""What goes through the pipe between an owner and the process that copies back: immutable values.

Down comes one `BackSettings`, and then nothing: its end of file ends the process. Up come the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kmigrate.copy.states import Stop
from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.classes import OffsetClass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackSettings:
    """What the process is told once: its manifest, and the folder of the migration, in which it has its own."""

    manifest: Manifest
    folder: Path


class Word(NamedTuple):
    """The last word on a partition: copied back below `position` (None: not known yet), and why it stopped, if it did.

    `position` is an offset of the copy back's source, `target_end` where that is on its target.
    """

    position: Offset | None
    stop: Stop | None
    target_end: Offset | None = None
    offset_class: OffsetClass = OffsetClass.IDENTICAL


class Told(NamedTuple):
    """Words that are new, and how the copy back stands as a whole."""

    words: Mapping[TopicPartition, Word]
    state: str
    reason: str


class Logged(NamedTuple):
    """What would stand in a log of its own: the owner's log has it."""

    logger: str
    level: int
    text: str


class Failed(NamedTuple):
    """Why the process ends by itself."""

    message: str
    hint: str
