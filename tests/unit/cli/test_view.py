"""The view draws on a terminal, and writes lines elsewhere: at intervals, and when something changed."""

import io
from dataclasses import replace

from rich.console import Console

from kmigrate.cli.view import LineView, ScreenView, open_view
from kmigrate.copy.states import PartitionState
from kmigrate.runner.status import MigrationState, OpenTransaction, PartitionStatus

from .conftest import DOCUMENT

CALM = replace(DOCUMENT, partitions=())


class Terminal:
    """A console that writes into memory, and a clock."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.file = io.StringIO()
        self.now = 100.0
        console = Console(file=self.file, force_terminal=is_terminal, width=80, height=30, color_system=None)
        self.view = open_view(console, str.upper, monotonic_seconds=lambda: self.now)

    def take(self) -> str:
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text


def test_the_view_suits_the_console() -> None:
    assert isinstance(Terminal(is_terminal=True).view, ScreenView)
    assert isinstance(Terminal(is_terminal=False).view, LineView)


def test_a_line_is_written_every_five_seconds() -> None:
    terminal = Terminal(is_terminal=False)
    terminal.view.show(CALM)
    assert terminal.take().startswith("orders RUNNING: copying, 0 records/s")
    terminal.now += 4.9
    terminal.view.show(CALM)
    assert terminal.take() == ""
    terminal.now += 0.2
    terminal.view.show(CALM)
    assert terminal.take().count("\n") == 1


def test_a_change_of_state_or_a_stop_is_written_at_once() -> None:
    terminal = Terminal(is_terminal=False)
    terminal.view.show(CALM)
    terminal.take()
    terminal.view.show(replace(CALM, state=MigrationState.PAUSED, reason="an operator paused it"))
    assert "PAUSED: an operator paused it" in terminal.take()
    terminal.view.show(DOCUMENT)
    text = terminal.take()
    assert text.startswith("pay-3 stopped: TARGET_REJECTED at offset 4: RECORD_LIST_TOO_LARGE (18)\n")
    assert "  recreate: KMIGRATE RESUME" in text  # the command is spelled with the real file
    terminal.view.show(DOCUMENT)
    assert terminal.take() == ""
    terminal.now += 5
    terminal.view.show(DOCUMENT)
    assert "stopped: TARGET" not in terminal.take()  # a stop is told once
    terminal.view.show(CALM)
    assert terminal.take()  # and its end


def test_who_holds_a_partition_back_is_told_once_with_the_remedy() -> None:
    terminal = Terminal(is_terminal=False)
    found = OpenTransaction(producer_id=4, producer_epoch=0, first_offset=9, hanging=True, state="Empty")
    held = PartitionStatus(
        topic="pay", partition=3, state=PartitionState.IN_SYNC, held_back_records=2, open_transaction=found
    )
    for told in (True, False):
        terminal.now += 5
        terminal.view.show(replace(CALM, partitions=(held,)))
        text = terminal.take()
        assert ("held back: pay-3  2 offsets from 9 on, producer id 4 (epoch 0)" in text) == told
        assert ("  kafka-transactions.sh --bootstrap-server SOURCE abort --topic pay " in text) == told
    terminal.now += 5
    terminal.view.show(replace(CALM, partitions=(replace(held, open_transaction=replace(found, first_offset=20)),)))
    assert "2 offsets from 20 on" in terminal.take()


def test_messages_are_written_as_they_come() -> None:
    for is_terminal in (False, True):
        terminal = Terminal(is_terminal=is_terminal)
        terminal.view.tell("[bold] is no markup here")
        assert "[bold] is no markup here" in terminal.take()
        terminal.view.close()


def test_the_screen_is_drawn_a_few_times_a_second_and_cleared() -> None:
    terminal = Terminal(is_terminal=True)
    terminal.view.show(DOCUMENT)
    assert "TARGET_REJECTED" in terminal.take()
    terminal.now += 0.1
    terminal.view.show(DOCUMENT)
    assert terminal.take() == ""
    terminal.now += 0.2
    terminal.view.show(DOCUMENT)
    assert terminal.take()
    terminal.view.close()
    assert "\x1b[?25h" in terminal.take()  # the cursor is back
    terminal.view.close()
    assert terminal.take() == ""
