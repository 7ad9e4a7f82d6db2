"""Cyclic garbage is looked for rarely, but it is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from kmigrate.runner.garbage import EVERYTHING_SECONDS, RareCollection


class Node:
    """Something that keeps itself alive."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_a_round_left_behind_is_found_at_the_next_look_through_everything() -> None:
    now = 0.0
    rare = RareCollection(lambda: now)
    with rare.during():
        left = weakref.ref(Node())
    gc.collect()
    assert left() is not None, "it was left alone"
    now = EVERYTHING_SECONDS
    with rare.during():
        pass
    assert left() is None


def test_a_round_that_fails_leaves_everything_as_it_was() -> None:
    before = gc.get_threshold()

    def fail() -> None:
        with RareCollection(lambda: 0.0).during():
            assert gc.get_threshold() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.get_threshold() == before
