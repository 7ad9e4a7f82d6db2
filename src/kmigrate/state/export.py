"""A state as a file: one line of JSON for its head, then one for each row.

Rule: offset maps are left out. A file may be older than the copy, and a map that does not tell of everything that was
copied would put records in a wrong place: their partitions stop as STATE_LOST instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from kmigrate.errors import KmigrateError
from kmigrate.state.files import replace_lines
from kmigrate.state.mirror import HEAD_KEY, RUNS_TABLE, Head, parse_key

EXPORT_NAME = "export.jsonl"


def write_export(path: Path, head: Head, rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Puts a state into a file's place, whole or not at all; raises KmigrateError."""
    kept = (
        f'{{"key":{key.decode()},"row":{value.decode()}}}' for key, value in rows if parse_key(key)[0] != RUNS_TABLE
    )
    try:
        replace_lines(path, [f'{{"key":{HEAD_KEY.decode()},"row":{head.to_bytes().decode()}}}', *kept])
    except OSError as error:
        raise KmigrateError(
            f"cannot write {path}: {error.strerror}", hint="look at the folder's rights and its disk's free space"
        ) from error


def read_export(path: Path) -> tuple[Head, dict[bytes, bytes]]:
    """What `write_export` wrote; raises KmigrateError."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        found = {_bytes(line["key"]): _bytes(line["row"]) for line in lines}
        head = Head.from_bytes(found.pop(HEAD_KEY))
    except OSError as error:
        raise KmigrateError(f"cannot read {path}: {error.strerror}", hint="name the copy of export.jsonl") from error
    except (ValueError, KeyError, TypeError) as error:
        raise KmigrateError(f"{path} is no export of a state: {error}", hint="name a copy of export.jsonl") from error
    if head is None:
        raise KmigrateError(f"{path} is no export of a state: it has no head", hint="name a copy of export.jsonl")
    return head, found


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
