"""Amounts as people read them: counts, bytes, rates and durations.  (pure)

Rule: decimal units, as Kafka's quotas and network people use them; three digits that matter; `?` for unknown.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from kmigrate.errors import UsageError

UNKNOWN = "?"
_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
}
_SHORT = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_LIMIT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?(?:/S)?", re.IGNORECASE)


def show_count(number: float | None) -> str:
    """1,234,567, or 12.3 M from ten million on."""
    if number is None:
        return UNKNOWN
    if number < 10_000_000:
        return f"{number:,.0f}"
    size, unit = next(each for each in _SHORT if number >= each[0])
    return f"{_three(number / size)} {unit}"


def show_short(number: float | None) -> str:
    """15.3k, 1.20M: at most five signs, for tables."""
    if number is None:
        return UNKNOWN
    if number < 10_000:
        return f"{number:.0f}"
    size, unit = next(each for each in _SHORT if number >= each[0])
    return f"{_three(number / size)}{unit}"


def show_bytes(number: float | None) -> str:
    """12.3 MB."""
    if number is None:
        return UNKNOWN
    if number < 1_000:
        return f"{number:.0f} B"
    size, unit = next(each for each in _SHORT if number >= each[0])
    return f"{_three(number / size)} {unit}B"


def show_rate(bytes_per_second: float | None) -> str:
    """12.3 MB/s."""
    return f"{show_bytes(bytes_per_second)}/s"


def show_duration(seconds: float | None) -> str:
    """The two units that matter: 4.2s, 3m12s, 5h07m, 12d04h."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f}s" if seconds else "0s"
    whole = round(seconds)
    for size, smaller, unit, minor in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= size:
            return f"{whole // size:,}{unit}{whole % size // smaller:02}{minor}"
    return f"{whole}s"


def show_time(wall_ms: int) -> str:
    """A moment, in UTC."""
    return f"{datetime.fromtimestamp(wall_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def show_share(share: float | None) -> str:
    """63.2 %; never rounded up to 100 %."""
    return UNKNOWN if share is None else f"{int(share * 1000) / 10:.1f} %" if share < 1 else "100 %"


def parse_limit(text: str) -> int | None:
    """Bytes a second from `50000000`, `50MB`, `50M`, `47.5MiB`; None from `none`. Raises UsageError."""
    if text.strip().lower() == "none":
        return None
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} is not a number of bytes a second",
            hint="for example 50000000, 50MB, 47.5MiB, or none for no limit",
        )
    return round(float(found[1]) * _UNITS[(found[2] or "").upper()])


def _three(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"
