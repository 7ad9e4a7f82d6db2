"""Values are made when they are asked for, once, and only those."""

from __future__ import annotations

import pytest

from kmigrate.runner.on_demand import OnDemand


def test_only_what_is_asked_for_is_made_and_only_once() -> None:
    made: list[int] = []

    def make(raw: int) -> str:
        made.append(raw)
        return str(raw)

    found = OnDemand({"a": 1, "b": 2, "c": 3}, make)
    assert (len(found), list(found), "b" in found, "d" in found, made) == (3, ["a", "b", "c"], True, False, [])
    assert (found.get("b"), found["b"], found.get("b", "x")) == ("2", "2", "2")
    assert (found.get("d"), found.get("d", "x")) == (None, "x")
    assert made == [2]
    with pytest.raises(KeyError):
        found["d"]
    assert dict(found) == {"a": "1", "b": "2", "c": "3"}


def test_what_is_nothing_is_nothing_however_often_it_is_asked_for() -> None:
    found: OnDemand[str, int, None] = OnDemand({"a": 1}, lambda _: None)
    assert [found.get("a"), found["a"], found.get("a", 5)] == [None, None, None]
