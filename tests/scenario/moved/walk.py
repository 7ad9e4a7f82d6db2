"""Goes through the story once: types what is typed, does what is done to the applications, and keeps what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.scenario.moved.stage import REPORT, Figures, Stage
from tests.scenario.moved.story import STORY, Left, Said
from tests.scenario.typed import Step

INTERRUPTED = 130


class Walked(NamedTuple):
    """Words, and commands with what they printed, in order; at the end the second terminal, the report, the figures."""

    parts: list[str | Step]
    second: Step
    report: str
    figures: Figures


class WentWrong(AssertionError):
    """A command ended otherwise than it should."""


def walk(stage: Stage, folder: Path) -> Walked:
    """Goes the whole way; raises WentWrong at the first command that ends otherwise than it should."""
    parts: list[str | Step] = []
    for each in STORY:
        if isinstance(each, Said):
            each.deed(stage)
            parts.append(each.words)
        elif isinstance(each, Left):
            stage.leave_running(each.command)
            parts.append(Step(each.command, "", 0))
        else:
            parts.append(_checked(stage.type(each.command, each.code), each.code))
    second = _checked(stage.interrupt(), INTERRUPTED)
    report = stage.terminal.rename((folder / REPORT).read_text(encoding="utf-8"))
    return Walked(parts, second, report, stage.judge())


def _checked(step: Step, code: int) -> Step:
    if step.code != code:
        raise WentWrong(f"ended with {step.code}, not {code}:\n$ {step.command}\n{step.output}")
    return step
