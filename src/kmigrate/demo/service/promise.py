"""What each scheme promises to a service, and whether a verdict keeps it.  (pure)

Rule: nothing is ever lost. A verdict that saw too little proves nothing, and keeps no promise.

Reference: docs/schemes/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmigrate.demo.service.judge import Verdict
from kmigrate.kafka_types import Side
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.wave import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """`most_repeated` counts records over all groups; `is_moved`: everybody works on the target in the end."""

    most_repeated: int = 0
    is_in_order: bool = True
    is_moved: bool = True


def promise_of(scheme: Scheme, ending: Ending, *, most_repeated: int) -> Promise:
    """What a scheme promises. `most_repeated` is the bound where it promises no more than a bound."""
    if scheme is Scheme.PRODUCERS_LATER:
        return Promise(most_repeated=most_repeated, is_in_order=False)
    return Promise(is_in_order=scheme is not Scheme.CONSUMERS_FIRST or ending is Ending.CLEAN)


def broken_by(verdict: Verdict, promise: Promise) -> Iterator[str]:
    """In which ways a verdict does not keep a promise, in words; nothing if it keeps it."""
    if not verdict.acknowledged or not verdict.groups:
        yield "nothing was acknowledged, or nobody was to read it: that proves nothing"
    for group in verdict.groups:
        if not group.expected:
            yield f"no record was there for group {group.group}: that proves nothing"
        if promise.is_moved and not group.by_side.get(Side.TARGET):
            yield f"group {group.group} has processed no new record on the target"
    for producer in verdict.producers:
        if promise.is_moved and not producer.by_side.get(Side.TARGET):
            yield f"producer {producer.name} has written nothing to the target"
    if verdict.lost:
        yield f"{verdict.lost:,} records were lost"
    if verdict.repeated > promise.most_repeated:
        yield f"{verdict.repeated:,} records were repeated, and no more than {promise.most_repeated:,} may be"
    if verdict.out_of_order and promise.is_in_order:
        yield f"{verdict.out_of_order:,} records were out of order"
