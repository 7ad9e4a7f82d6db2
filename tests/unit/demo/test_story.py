"""The demo says what it lacks, objects to everything that is not proven, and one signal is enough."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kmigrate.demo import interrupts
from kmigrate.demo.comparison import Comparison, TopicResult
from kmigrate.demo.narrator import Narrator, print_table
from kmigrate.demo.story import DIFFERENCE_FOUND, judge, run_demo
from kmigrate.errors import KmigrateError

EQUAL = TopicResult(
    topic="orders", partitions=2, records=1_234, size_bytes=7_600_000, source_end=1_234, target_end=1_234
)


def _judge(result: TopicResult, *, acknowledged: int = 1_234) -> int:
    return judge(Comparison({"orders": result}), acknowledged=acknowledged, narrator=Narrator(color=False))


def test_equal_clusters_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert _judge(EQUAL) == 0
    assert "1,234 records compared, 1,234 of them acknowledged: 0 differences" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["differing", "missing", "extra", "unequal_ranges", "duplicates", "lost"])
def test_one_objection_is_enough(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _judge(replace(EQUAL, **{what: 1})) == DIFFERENCE_FOUND
    assert "The clusters are not equal" in capsys.readouterr().err


def test_fewer_records_than_acknowledgements_are_not_equal() -> None:
    assert _judge(EQUAL, acknowledged=1_235) == DIFFERENCE_FOUND


def test_nothing_acknowledged_proves_nothing() -> None:
    assert _judge(EQUAL, acknowledged=0) == DIFFERENCE_FOUND


def test_the_table_shows_every_count(capsys: pytest.CaptureFixture[str]) -> None:
    result = replace(EQUAL, target_end=1_240, missing=1, extra=2, differing=3, unequal_ranges=4, duplicates=5, lost=6)
    print_table(Comparison({"orders": result}), color=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts = ["2", "1,234", "7.6", "MB", "1,234", "1,240", "10", "5", "6"]
    assert ["orders", *counts] in lines
    assert ["all", *counts] in lines


def test_a_missing_client_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(KmigrateError, match="confluent-kafka") as caught:
        run_demo()
    assert caught.value.hint == "pip install 'kmigrate[demo]'"
    assert caught.value.exit_code == 1


@pytest.fixture
def listening() -> Iterator[interrupts.Before]:
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind it
    before = interrupts.listen()
    yield before
    interrupts.restore(before)
    signal.signal(signal.SIGINT, ignored)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_interrupts_and_later_ones_do_not(
    listening: interrupts.Before, number: signal.Signals, exit_code: int
) -> None:
    with pytest.raises(interrupts.Interrupted) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == exit_code
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    interrupts.restore(listening)
    assert signal.getsignal(signal.SIGINT) is listening[signal.SIGINT]


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        before = interrupts.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        interrupts.restore(before)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)
