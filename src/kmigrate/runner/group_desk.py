"""Where the operator's wishes about consumer groups are taken: of a running owner, or without one, for the next.

Rule: what changes a commit on the target needs a running owner, as only it holds the lease. Many threads may use it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kmigrate.errors import UsageError
from kmigrate.groups.values import NO_RECORD
from kmigrate.runner.group_reset import GroupReset, ResetReply, ResetWish
from kmigrate.runner.group_sync import GroupSync
from kmigrate.runner.groups_document import GroupsDocument
from kmigrate.state.group_book import GroupBook
from kmigrate.state.store import Store

SYNC_SECONDS = 25.0
"""How long a whole round is waited for."""


class GroupDesk:
    """The groups of one migration as commands see them."""

    def __init__(self, store: Store) -> None:
        self._book = GroupBook(store)
        self._live: GroupSync | None = None

    def attach(self, live: GroupSync | None) -> None:
        """From now on there is an owner that keeps groups in step, or none any more."""
        self._live = live

    def document(self, *, details: bool) -> GroupsDocument | None:
        """How the groups stand, or stood when the last owner ended; None if none ever looked."""
        live = self._live
        if live is not None:
            return live.document(details=details)
        saved = self._book.load_list()
        return None if saved is None else GroupsDocument.from_json(saved)

    def sync(self, release: Sequence[str]) -> tuple[str, ...]:
        """Ends the latches of these groups, and waits for a round over all groups if an owner runs.

        Returns the groups whose latch ended. Raises UsageError for one that has none.
        """
        known = self._book.load()
        for group in release:
            if known.get(group, NO_RECORD).moved is None:
                raise UsageError(
                    f"group {group!r} is not latched: there is nothing to release",
                    hint="`kmigrate group list -f FILE` shows which groups have moved",
                )
        live = self._live
        if live is None:
            return self._book.release(release)
        released = live.release(release)
        live.whole_round(SYNC_SECONDS)
        return released

    def reset(self, wish: ResetWish, *, execute: bool) -> ResetReply:
        """Moves a group's commits on the target, or shows what that would do."""
        reset = GroupReset(self._owned(), wish.group)
        try:
            return reset.reset(wish, execute=execute)
        finally:
            reset.close()

    def undo_reset(self, group: str, *, execute: bool) -> ResetReply:
        """Takes the last reset of a group back, or shows what that would do."""
        reset = GroupReset(self._owned(), group)
        try:
            return reset.undo(execute=execute)
        finally:
            reset.close()

    def _owned(self) -> GroupSync:
        if self._live is None:
            raise UsageError(
                "no owner runs: only a running migration holds the lease that a commit on the target needs",
                hint="start it with `kmigrate run -f FILE`, and try again",
            )
        return self._live
