"""Fences come back with a recovered state, and take no other fence's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.errors import KmigrateError
from kmigrate.runner.fence_mirror import FENCES, note_fences, restore_fences
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.outbox import Outbox
from kmigrate.state.store import Store
from tests.unit.security.test_fence import fence


def test_fences_are_noted_once_and_come_back(tmp_path: Path) -> None:
    store, book = Store.open(tmp_path), FenceBook(tmp_path)
    outbox = Outbox(store)
    note_fences(store, book)
    assert outbox.take(1 << 20) == [], "no fence is nothing to tell"
    first, second = book.add(fence()), book.add(fence(bootstrap="c:9092"))
    note_fences(store, book)
    note_fences(store, book)
    assert len(outbox.take(1 << 20)) == 1
    (tmp_path / "other").mkdir()
    other = FenceBook(tmp_path / "other")
    assert restore_fences(store, other) == 2
    assert other.fences() == [first, second]
    assert restore_fences(store, other) == 0


def test_a_fence_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    store, book = Store.open(tmp_path), FenceBook(tmp_path)
    book.add(fence())
    note_fences(store, book)
    book.change(1, lambda known: replace(known, bootstrap="changed:9092"))
    assert restore_fences(store, book) == 0
    assert book.fence(1).bootstrap == "changed:9092"


def test_fences_that_nobody_understands_are_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(FENCES, '[{"number": 1}]')
    with pytest.raises(KmigrateError, match="fences"):
        restore_fences(store, FenceBook(tmp_path))
