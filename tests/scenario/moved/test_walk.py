"""A whole service moves as the page shows it: by these commands, and nothing is lost, repeated or out of order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.scenario.moved.page import write_down
from tests.scenario.moved.stage import HISTORY_RECORDS, REPORT, on_stage
from tests.scenario.moved.story import STORY, Said
from tests.scenario.moved.walk import walk
from tests.scenario.typed import Step, commands_in

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "move.md"


@pytest.mark.broker
def test_a_whole_service_moves_by_what_is_typed(start_cluster: Callable[..., EmbeddedCluster], tmp_path: Path) -> None:
    source, target = (start_cluster(version) for version in (SOURCE_VERSION, TARGET_VERSION))
    with on_stage(source, target, tmp_path) as stage:
        walked = walk(stage, tmp_path)  # every command ends as it should, and the judge passes
    assert walked.figures.acknowledged == walked.figures.read > HISTORY_RECORDS
    typed = [each for each in walked.parts if isinstance(each, Step)]
    assert [each.command for each in typed] == _commands()
    page = write_down(walked)
    for text in (page, walked.report):
        assert str(tmp_path) not in text
        assert "127.0.0.1" not in text
    assert commands_in(page) == _commands()


def test_the_page_shows_the_commands_that_are_tested() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert commands_in(page) == _commands()
    assert [each.words for each in STORY if isinstance(each, Said) and each.words not in page] == []


def test_no_address_and_no_path_of_a_machine_is_on_the_pages() -> None:
    for page in (PAGE, DOCS / REPORT):
        text = page.read_text(encoding="utf-8")
        assert "127.0.0.1" not in text
        assert "/tmp" not in text


def _commands() -> list[str]:
    return [each.command for each in STORY if not isinstance(each, Said)]
