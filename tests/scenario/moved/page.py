"""The page that shows how a whole service moves."""

from __future__ import annotations

import itertools

from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.scenario.moved.stage import ADDRESSES, FILE, REPORT, Figures, manifest
from tests.scenario.moved.walk import Walked
from tests.scenario.typed import Step, fenced, show

HEAD = f"""\
# A whole service moves

What an operator types to move a service that runs from Kafka {SOURCE_VERSION} to Kafka {TARGET_VERSION}, and what is
printed. One application writes to the topic `orders` all the time; another reads it as the group `billing`, and commits
what it has read. They know nothing of kmigrate: they are stopped and started by hand, and where that is done the page
says so. What reads moves first, then what writes ([consumers-first](schemes/consumers-first.md)). Writers wait for some
seconds; nothing is lost, repeated or out of order. [The cutover](cutover.md) explains the words.

This page and [its report]({REPORT}) are written by
`python -m tests.scenario.moved docs/move.md docs/{REPORT}`, which starts both clusters and the service, and types
the commands; only the brokers' addresses and the folder of state are renamed. `make test` goes the same way.
"""


SECOND = """\
## The second terminal

`run` draws a screen; where its output goes to no terminal, as here, it prints a line every five seconds. Of those that
say the same but for their numbers the first is shown. Ctrl-C ended it:
"""


def write_down(walked: Walked) -> str:
    """The page."""
    parts = [HEAD, f"`{FILE}`:\n\n```yaml\n{manifest(ADDRESSES)}```\n"]
    parts += [_shown(each) if isinstance(each, Step) else f"{each}\n" for each in walked.parts]
    parts.append(f"{SECOND}\n{fenced(_shortened(walked.second.output))}")
    return "\n".join([*parts, _told(walked.figures)])


def _shown(step: Step) -> str:
    return show(step) + ("\nIt ends with 5: a gate is closed, and nothing was done.\n" if step.code else "")


def _shortened(printed: str) -> str:
    """Of lines that say the same but for their numbers the first, and that there are more."""
    alike = [list(lines) for _, lines in itertools.groupby(printed.splitlines(), lambda line: line.partition(", ")[0])]
    return "\n".join(line for first, *more in alike for line in (first, *(["…"] if more else [])))


def _told(figures: Figures) -> str:
    """What the judge found; it would not have passed anything else."""
    return f"""\
## What became of the records

The writing application noted each record that a broker acknowledged, the reading one each that it read. A judge who
knows nothing of kmigrate compared their notes:

| | |
|---|---|
| acknowledged | {figures.acknowledged:,} records |
| read | {figures.read:,} records |
| lost, repeated, out of order in their partition | 0, 0, 0 |
| nobody wrote, from the word to stop until the first record on the target | {figures.unwritten_seconds:.1f} s |
| nobody read, from the word to stop until the first record on the target | {figures.unread_seconds:.1f} s |
"""
