"""The fences of a migration as a fact of its store: so they are mirrored with the state, and come back with it.

Rule: the book stays the truth. What comes back may be a moment old: a fence that was lifted since is lifted once more,
which changes nothing.
"""

from __future__ import annotations

import json
import logging

from kmigrate.errors import KmigrateError
from kmigrate.security.fence import Fence
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.store import Store

log = logging.getLogger(__name__)

FENCES = "fences"


def note_fences(store: Store, book: FenceBook) -> None:
    """Keeps in the store what the book holds now, if that is something new."""
    try:
        fences = book.fences()
    except KmigrateError as error:
        log.warning("fences are not mirrored: %s", error)
        return
    text = json.dumps([fence.to_value() for fence in fences], ensure_ascii=False)
    if text != (store.get(FENCES) or "[]"):
        store.put(FENCES, text)


def restore_fences(store: Store, book: FenceBook) -> int:
    """Puts the fences that a recovered store knows into a book that does not know them; returns how many."""
    try:
        fences = [Fence.from_value(value) for value in json.loads(store.get(FENCES) or "[]")]
    except (ValueError, KeyError, TypeError) as error:
        raise KmigrateError(f"the recovered state holds no fences that this version understands: {error}") from error
    return book.restore(fences) if fences else 0
