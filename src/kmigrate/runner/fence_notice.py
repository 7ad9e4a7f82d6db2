"""What a migration's folder says of its fences now: for `status`, with and without an owner, and for `fence status`."""

from __future__ import annotations

from pathlib import Path

from kmigrate.runner.fence_status import FenceStatus, fence_status
from kmigrate.state.fence_book import FenceBook


def read_fences(migration: Path, *, lifted: bool = False) -> tuple[FenceStatus, ...]:
    """The fences in a migration's folder; those that are lifted only if asked for."""
    book = FenceBook(migration)
    found = book.fences() if lifted else book.standing()
    if not found:
        return ()
    watched, now = book.is_watched(), book.now()
    return tuple(fence_status(each, now, is_watched=watched) for each in found)
