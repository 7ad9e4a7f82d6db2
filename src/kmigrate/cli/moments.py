"""Moments as people write them on a command line.  (pure)"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from kmigrate.errors import UsageError

_AGO = re.compile(r"(\d{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_time(text: str) -> int:
    """Milliseconds since the epoch, of a time with its zone; raises UsageError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise UsageError(f"{text!r} is no time with its zone", hint="write it as 2024-05-01T00:00:00Z")
    return int(at.timestamp() * 1000)


def parse_moment(text: str, now_ms: int) -> int:
    """The same, or so long ago: 30s, 10m, 2h, 1d."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    try:
        return parse_time(text)
    except UsageError as error:
        raise UsageError(
            str(error), hint="write it as 2024-05-01T00:00:00Z, or how long ago: 30s, 10m, 2h, 1d"
        ) from None


def show_moment(wall_ms: int) -> str:
    """A record's time in UTC with its milliseconds; −1 is none."""
    if wall_ms < 0:
        return "no time"
    try:
        at = datetime.fromtimestamp(wall_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{wall_ms} ms"
    return f"{at:%Y-%m-%d %H:%M:%S}.{wall_ms % 1000:03}"
