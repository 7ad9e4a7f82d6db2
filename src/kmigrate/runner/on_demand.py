"""A mapping of what is made of another's values, each when it is first asked for.  (no I/O)

What a round over the groups wants to know of tens of thousands of partitions, it mostly wants of a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, overload

Key = TypeVar("Key")
Raw = TypeVar("Raw")
Made = TypeVar("Made")
Other = TypeVar("Other")


class OnDemand(Mapping[Key, Made]):
    """What `make` makes of the values of `raw`, which must not change; for any thread."""

    __slots__ = ("_made", "_make", "_raw")

    def __init__(self, raw: Mapping[Key, Raw], make: Callable[[Raw], Made]) -> None:
        self._raw = raw
        self._make = make
        self._made: dict[Key, Made] = {}

    def __getitem__(self, key: Key) -> Made:
        if key not in self._made:
            self._made[key] = self._make(self._raw[key])
        return self._made[key]

    @overload
    def get(self, key: Key, /) -> Made | None: ...
    @overload
    def get(self, key: Key, default: Made | Other, /) -> Made | Other: ...
    def get(self, key: Key, default: Other | None = None, /) -> Made | Other | None:
        """As of any mapping; in one step where it was made before."""
        found = self._made.get(key)
        if found is not None:
            return found
        return self[key] if key in self._raw else default

    def __contains__(self, key: object) -> bool:
        return key in self._raw

    def __iter__(self) -> Iterator[Key]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)
