"""The move as a story: what is said, what is typed, and what is done to the applications meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.scenario.moved.stage import FILE, GATE_CLOSED, NAME, REPORT, Stage


class Said(NamedTuple):
    """Words of the page; what they tell of is done before the next command is typed."""

    words: str
    deed: Callable[[Stage], None] = lambda _: None


class Typed(NamedTuple):
    """A command, and the exit code that it should end with."""

    command: str
    code: int = 0


class Left(NamedTuple):
    """A command in the second terminal, which goes on."""

    command: str


STORY: tuple[Said | Typed | Left, ...] = (
    Said("## Before anything is copied"),
    Typed(f"kmigrate check -f {FILE}"),
    Typed(f"kmigrate plan -f {FILE}"),
    Typed(f"kmigrate apply -f {FILE} --yes"),
    Said("## The copy\n\nIn a second terminal, which stays open; what it shows is at the end of this page:"),
    Left(f"kmigrate run -f {FILE}"),
    Said("It copies what is there, then follows. Back in the first terminal, a moment later:", Stage.until_in_sync),
    Typed(f"kmigrate status -f {FILE}"),
    Said("Are they the same? All of both clusters is read again; then the newest records, and how many there are:"),
    Typed(f"kmigrate verify -f {FILE}"),
    Typed(f"kmigrate message diff -f {FILE}"),
    Typed(f"kmigrate message rate -f {FILE}"),
    Said(
        "What `billing` commits on the source follows it to the target. Reading at the very end it is a moment\n"
        "ahead of the copy: what it committed a second ago stands in, until the cutover has its last commits copied\n"
        "exactly:"
    ),
    Typed(f"kmigrate group list -f {FILE}"),
    Said(
        "## The cutover\n\nThe scheme has nine steps here. `kmigrate cutover status --watch` would go on showing them:",
        lambda stage: stage.until_at("replicate"),
    ),
    Typed(f"kmigrate cutover status -f {FILE}"),
    Said("Every gate is open."),
    Typed(f"kmigrate cutover next -f {FILE}"),
    Said("`next` once too early, while `billing` still runs on the source:"),
    Typed(f"kmigrate cutover next -f {FILE}", GATE_CLOSED),
    Said("### The readers move\n\n**`billing` is stopped on the source.** Writers go on.", Stage.stop_readers),
    Typed(f"kmigrate cutover next -f {FILE}"),
    Said(
        "**`billing` is started with the target's address.** It goes on where it ended, and reads what is copied.",
        Stage.start_readers,
    ),
    Typed(f"kmigrate cutover status -f {FILE} --no-steps"),
    Typed(f"kmigrate cutover next -f {FILE}"),
    Said("### The writers move\n\nWhat was copied meanwhile is verified; what was verified before is not read again:"),
    Typed(f"kmigrate verify -f {FILE}"),
    Said(
        "**What writes `orders` is stopped on the source.** From here on nobody writes.\n"
        "What comes next cannot be taken back: the migration's name approves it. Without `--approve` it is asked for:",
        Stage.stop_writers,
    ),
    Typed(f"kmigrate cutover next -f {FILE} --approve {NAME}"),
    Said(
        "The source must stand still for five seconds; then the rest is copied and verified, and the topic handed\n"
        "over, by itself. A few seconds later:",
        Stage.until_handed_over,
    ),
    Typed(f"kmigrate cutover status -f {FILE}"),
    Said("**What writes `orders` is started with the target's address.**", Stage.start_writers),
    Typed(f"kmigrate cutover next -f {FILE}"),
    Said(
        "### The end\n\nThe service is on the target. The way back is made ready: from the next step on, what the\n"
        "target gets is copied to the source, so that `cutover rollback` loses nothing.",
        lambda stage: stage.until_at("arm"),
    ),
    Typed(f"kmigrate cutover next -f {FILE}"),
    Said(
        "The service is watched for as long as it takes to trust the target; here for some seconds.",
        lambda stage: stage.until_at("watch", "approved"),
    ),
    Typed(f"kmigrate cutover status -f {FILE}"),
    Typed(f"kmigrate cutover finish -f {FILE} --approve {NAME}"),
    Said("A moment later:", Stage.until_over),
    Typed(f"kmigrate cutover status -f {FILE}"),
    Said(f"The evidence of all that, which is [the report]({REPORT}):"),
    Typed(f"kmigrate report -f {FILE} --output {REPORT}"),
)
