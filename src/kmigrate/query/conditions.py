"""What is looked for: conditions with fixed operators, all of which must hold.  (pure)

Text is compared as bytes, with upper and lower case told apart. Null equals nothing and holds nothing; empty equals
empty. There are no expressions: whatever a condition asks for lies as it is in the bytes of the record, so that whole
batches can be passed over by one search in their raw bytes (`Filter.needle`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from kmigrate.query.contents import Contents


class Field(enum.Enum):
    """Where something is looked for."""

    KEY = "key"
    VALUE = "value"
    TEXT = "text"
    """The key or the value."""
    HEADER = "header"
    """The value of any header of a name."""


class Operator(enum.Enum):
    """How it is compared."""

    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS_WITH = "starts-with"


_COMPARED: dict[Operator, Callable[[bytes, bytes], bool]] = {
    Operator.EQUALS: lambda there, wanted: there == wanted,
    Operator.CONTAINS: lambda there, wanted: wanted in there,
    Operator.STARTS_WITH: lambda there, wanted: there.startswith(wanted),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that must hold; `name` is the header's, for which `wanted` None asks only that it is there."""

    field: Field
    operator: Operator
    wanted: bytes | None
    name: bytes = b""

    def holds(self, contents: Contents) -> bool:
        """Whether these contents are as wanted."""
        match self.field:
            case Field.KEY:
                return self._compare(contents.key)
            case Field.VALUE:
                return self._compare(contents.value)
            case Field.TEXT:
                return self._compare(contents.key) or self._compare(contents.value)
            case Field.HEADER:
                return any(
                    name == self.name and (self.wanted is None or self._compare(value))
                    for name, value in contents.headers
                )

    def _compare(self, there: bytes | None) -> bool:
        return there is not None and self.wanted is not None and _COMPARED[self.operator](there, self.wanted)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which records are wanted: all conditions hold, and since_ms ≤ timestamp < until_ms where these are given."""

    conditions: Sequence[Condition] = ()
    since_ms: int | None = None
    until_ms: int | None = None

    @cached_property
    def needle(self) -> bytes:
        """The longest bytes that the body of every wanted record holds; empty if nothing is known of them."""
        parts = [part for each in self.conditions for part in (each.wanted or b"", each.name)]
        return max(parts, key=len, default=b"")

    @property
    def wants_everything(self) -> bool:
        """Whether there is nothing that a record must be."""
        return not self.conditions and self.since_ms is None and self.until_ms is None

    def is_in_time(self, timestamp_ms: int) -> bool:
        """Whether a record of this time may be wanted."""
        return (self.since_ms is None or timestamp_ms >= self.since_ms) and (
            self.until_ms is None or timestamp_ms < self.until_ms
        )

    def holds(self, contents: Contents) -> bool:
        """Whether all conditions hold."""
        return all(each.holds(contents) for each in self.conditions)
