"""Numbers in sentences.  (pure)"""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """`1 topic`, `2 topics`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
