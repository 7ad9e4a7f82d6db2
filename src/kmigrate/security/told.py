"""What a cluster told, or why it did not.  (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Generic[T]):
    """What a cluster told; `value` is None with the `reason` if it did not. `is_off`: it has no such thing."""

    value: T | None
    reason: str = ""
    is_off: bool = False
