"""How an owner ended: what it said itself, or what can be told of it.  (pure)

An owner that serve started says at its end, as one line of JSON on its standard output, what it ended for. One that was
killed says nothing: then the signal is told, and the last line of what it printed as an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from signal import Signals
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.errors import Blocked, ClustersAway, KmigrateError, Refused, UsageError

NOT_AGAIN = frozenset({UsageError.exit_code, Blocked.exit_code, Refused.exit_code})
"""Exit codes after which an owner is not started again by itself: it would find the same, or somebody else's right."""

MAX_REASON = 4_000


@with_config(ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True))
@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of an owner: `at` in milliseconds since the epoch; `again`: trying once more may help.

    `exit_code` is that of its process; below 0 it is the negative number of a signal.
    """

    exit_code: int
    reason: str
    hint: str = ""
    again: bool = True
    at: int

    def to_value(self) -> dict[str, Any]:
        """As what JSON is made of."""
        value: dict[str, Any] = _adapter().dump_python(self, mode="json", by_alias=True)
        return value

    @classmethod
    def from_value(cls, value: object) -> Self:
        """What `to_value` made; raises ValueError if it is not one."""
        found = _adapter().validate_python(value)
        assert isinstance(found, cls)
        return found


def last_words(error: KmigrateError) -> str:
    """What an owner writes about its end, on one line."""
    again = isinstance(error, ClustersAway) or error.exit_code not in NOT_AGAIN
    return json.dumps({"error": str(error)[:MAX_REASON], "hint": error.hint[:MAX_REASON], "again": again})


def exit_of(exit_code: int, said: bytes, printed: bytes, at_ms: int) -> Exit:
    """The end of a process by its exit code and the ends of its standard output and of its errors."""
    try:
        words = json.loads(said.decode().splitlines()[-1])
        error, hint, again = str(words["error"]), str(words["hint"]), bool(words["again"])
    except (ValueError, LookupError, TypeError):
        lines = [line.strip() for line in printed.decode(errors="replace").splitlines() if line.strip()]
        error = _ending(exit_code) + (f": {lines[-1][:MAX_REASON]}" if lines else "")
        hint, again = "its log says more", exit_code not in NOT_AGAIN
    return Exit(exit_code=exit_code, reason=error, hint=hint, again=again, at=at_ms)


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the owner ended with {exit_code} without a word"
    try:
        return f"the owner was killed by {Signals(-exit_code).name}"
    except ValueError:
        return f"the owner was killed by signal {-exit_code}"


@cache
def _adapter() -> TypeAdapter[Exit]:
    return TypeAdapter(Exit)
