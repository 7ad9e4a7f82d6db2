"""Who gets filler, where all filler together exceeds padBudgetTotal: `plan` and the copy ask the same.  (pure)

Partitions give way: those that may have any class first, among them the largest filler first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.kafka_types import TopicPartition


class Claim(NamedTuple):
    """So much filler is wanted for a partition; `forced`: the manifest wants it to be identical."""

    partition: TopicPartition
    filler: int
    forced: bool


def give_way(claims: Iterable[Claim], left: int) -> set[TopicPartition]:
    """The partitions whose filler does not fit into what is left of the budget."""
    in_order = sorted(claims, key=lambda each: (each.forced, -each.filler, each.partition))
    total = sum(each.filler for each in in_order)
    given: set[TopicPartition] = set()
    for each in in_order:
        if total <= left:
            break
        given.add(each.partition)
        total -= each.filler
    return given
