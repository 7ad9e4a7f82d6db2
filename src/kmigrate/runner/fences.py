"""Where a fence begins: what is wanted is checked, written down, watched, and then put.

Rule: nothing is put before the book has the whole fence and a watcher lives. A fence that stands already and is asked
for again is confirmed and put again, which mends what somebody took away; that is also how a putting that was cut short
goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import KmigrateError, Refused
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.fencing import Fencer
from kmigrate.security.fence import Fence, FenceKind
from kmigrate.security.fence_plan import FencePlan
from kmigrate.state.fence_book import FenceBook

PERIOD_SECONDS = 600.0
SHORTEST_SECONDS = 30.0
"""How long a fence stands without a confirmation, by default and at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOrder:
    """The fence that is asked for; `cluster_id` is what the cluster tells of itself."""

    side: Side
    kind: FenceKind
    topics: tuple[TopicName, ...]
    principals: tuple[str, ...]
    cluster_id: str
    bootstrap: str
    is_secured: bool
    period_seconds: float = PERIOD_SECONDS


def find_same(book: FenceBook, order: FenceOrder) -> Fence | None:
    """The fence that was asked for before in just this way, and is to stand."""
    wanted = _fence_of(book, order, FencePlan())
    return next((each for each in book.standing() if each.is_wanted and each.is_same(wanted)), None)


def enter_fence(book: FenceBook, order: FenceOrder, plan: FencePlan) -> Fence:
    """Writes the fence down, or confirms the same one; raises Refused beside another one of these topics."""
    wanted = _fence_of(book, order, plan)
    with book.locked():
        now = book.now()
        for known in book.fences():
            if not known.overlaps(wanted):
                continue
            if known.is_wanted and known.is_same(wanted):
                confirmed = book.change(known.number, lambda fence: fence.confirm(now, order.period_seconds))
                if confirmed is None:
                    raise Refused(
                        f"the deadline of fence {known.number} has passed: it is being lifted",
                        hint="put it again once `kmigrate fence status -f FILE` shows that it is lifted",
                    )
                return confirmed
            if known.ended is None:
                raise Refused(
                    f"fence {known.number} ({known.kind.value}, {known.phase.value}) is around some of these topics",
                    hint=f"kmigrate fence lift -f FILE --number {known.number}",
                )
            if known.may_be_late(now):
                raise Refused(
                    f"fence {known.number} was cut short while it was put: a request of it may still arrive",
                    hint="try again in a minute",
                )
        if not (plan.acls or plan.settings) or plan.objections:
            raise KmigrateError("there is nothing to put: look at the cluster anew")
        return book.add(wanted)


def put_fence(
    book: FenceBook,
    client: ClusterClient,
    fence: Fence,
    watch: Callable[[], None],
    before: Callable[[], None] = lambda: None,
) -> Fence:
    """Sees to it that somebody watches, and puts a fence that is in the book; raises as `Fencer.put` does.

    Without a watcher nothing is put that is not there already. `before` is what is to be done last before it is put;
    where that fails nothing was put yet, and the fence waits in the book for whoever puts it again, or lifts it.
    """
    try:
        watch()
    except KmigrateError:
        if not fence.stood:
            Fencer(client, book).lift(fence.number, "nobody would watch it")
        raise
    before()
    return Fencer(client, book).put(fence.number)


def confirm_fence(book: FenceBook, number: int) -> bool:
    """Says that a fence is to stand on, for as long as it was put for; False if it is no longer to be trusted."""
    with book.locked():
        now = book.now()
        return book.change(number, lambda fence: fence.confirm(now, fence.period_seconds)) is not None


def _fence_of(book: FenceBook, order: FenceOrder, plan: FencePlan) -> Fence:
    now = book.now()
    fence = Fence(
        number=0,
        side=order.side,
        kind=order.kind,
        topics=tuple(sorted(order.topics)),
        principals=tuple(sorted(order.principals)) if order.kind is FenceKind.ACL else (),
        cluster_id=order.cluster_id,
        bootstrap=order.bootstrap,
        is_secured=order.is_secured,
        period_seconds=order.period_seconds,
        begun=now,
        confirmed=now,
    )
    return replace(fence, acls=plan.acls, settings=plan.settings)
