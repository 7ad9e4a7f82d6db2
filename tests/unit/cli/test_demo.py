"""`demo` tells the story that was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from kmigrate.cli.demo import demo
from kmigrate.demo import scheme_story, story
from kmigrate.errors import UsageError
from kmigrate.manifest.model import Ending, Scheme


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def run_demo(**more: Any) -> int:
        calls.append(("copy", more))
        return 0

    def run_scheme_demo(scheme: Scheme, **more: Any) -> int:
        calls.append((scheme, more))
        return 3

    monkeypatch.setattr(story, "run_demo", run_demo)
    monkeypatch.setattr(scheme_story, "run_scheme_demo", run_scheme_demo)
    return calls


USUAL = {"color": True, "kafka_home": None, "keep": False}


def test_without_a_scheme_it_is_the_story_of_the_copy(told: list[tuple[Any, ...]]) -> None:
    assert CliRunner().invoke(demo, []).exit_code == 0
    assert told == [("copy", USUAL)]


@pytest.mark.parametrize("scheme", Scheme)
def test_a_scheme_has_a_story_of_its_own(told: list[tuple[Any, ...]], scheme: Scheme) -> None:
    assert CliRunner().invoke(demo, ["--scheme", scheme.value]).exit_code == 3
    assert told == [(scheme, USUAL | {"ending": Ending.CLEAN})]


def test_consumers_first_has_two_endings_and_no_other_scheme_has_one(told: list[tuple[Any, ...]]) -> None:
    assert CliRunner().invoke(demo, ["--scheme", "consumers-first", "--ending", "overlap"]).exit_code == 3
    assert told == [(Scheme.CONSUMERS_FIRST, USUAL | {"ending": Ending.OVERLAP})]
    refused = CliRunner().invoke(demo, ["--scheme", "producers-first", "--ending", "overlap"])
    assert isinstance(refused.exception, UsageError)
