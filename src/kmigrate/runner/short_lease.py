"""The lease for something short: taken by who has the folder's lock and no owner, and given back at the end."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator

from kmigrate.cluster.clock import steady_seconds
from kmigrate.errors import Superseded
from kmigrate.runner.folder import Ownership
from kmigrate.runner.lease import Lease
from kmigrate.runner.reach import Reach
from kmigrate.runner.start import TERM
from kmigrate.state.store import Store

MEMBER = "lease.member"
LEASE_SECONDS = 45.0


@contextlib.contextmanager
def short_lease(target: Reach, group: str, store: Store, ownership: Ownership) -> Iterator[Callable[[], bool]]:
    """Gives what says whether the lease is granted now, and raises Superseded once another owner has it.

    Raises what `Lease.acquire` raises.
    """
    lost: list[Superseded] = []
    lease = Lease(
        target.side,
        target.bootstrap,
        target.settings,
        group_id=group,
        owner=str(ownership.note),
        on_member_id=lambda member: store.put(MEMBER, json.dumps({"id": member, "host": socket.gethostname()})),
        on_superseded=lost.append,
        predecessor_member_id=_predecessor(store),
    )
    try:
        store.put(TERM, str(lease.acquire(LEASE_SECONDS).term))

        def may_write() -> bool:
            if lost:
                raise lost[0]
            return lease.grant().deadline_seconds > steady_seconds()

        yield may_write
    finally:
        lease.release()


def _predecessor(store: Store) -> str | None:
    """The member id of a dead predecessor; a folder that was copied from another machine proves no death."""
    saved = json.loads(store.get(MEMBER) or "{}")
    found: str | None = saved.get("id") if saved.get("host") == socket.gethostname() else None
    return found
