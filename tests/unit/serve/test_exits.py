"""How an owner ended is told by itself, or read off what is left."""

import pytest

from kmigrate.errors import Blocked, ClustersAway, KmigrateError, Refused
from kmigrate.serve.exits import MAX_REASON, Exit, exit_of, last_words


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (KmigrateError("broken", hint="mend it"), True),
        (Blocked("no right"), False),
        (ClustersAway("a broker is away"), True),
        (Refused("somebody else"), False),
    ],
)
def test_last_words_are_understood(error: KmigrateError, again: bool) -> None:
    told = exit_of(error.exit_code, last_words(error).encode() + b"\n", b"noise", 7)
    assert told == Exit(exit_code=error.exit_code, reason=str(error), hint=error.hint, again=again, at=7)
    assert Exit.from_value(told.to_value()) == told


def test_a_message_of_many_lines_stays_one_and_has_a_limit() -> None:
    words = last_words(KmigrateError("a\nb" + "c" * MAX_REASON))
    assert "\n" not in words
    assert len(exit_of(1, words.encode(), b"", 0).reason) == MAX_REASON


@pytest.mark.parametrize(
    ("exit_code", "printed", "reason"),
    [
        (-9, b"", "the owner was killed by SIGKILL"),
        (-99, b"", "the owner was killed by signal 99"),
        (1, b"Traceback\nMemoryError: out\n\n", "the owner ended with 1 without a word: MemoryError: out"),
        (0, b"\xff", "the owner ended with 0 without a word: \ufffd"),
    ],
)
def test_one_that_said_nothing_is_told_by_its_exit(exit_code: int, printed: bytes, reason: str) -> None:
    told = exit_of(exit_code, b"", printed, 0)
    assert (told.reason, told.again) == (reason, True)
    assert told.hint


@pytest.mark.parametrize("said", [b"{}", b"[1]", b"nonsense\n", b"\xff\n", b'{"error": "x"}'])
def test_half_a_word_is_none(said: bytes) -> None:
    assert exit_of(4, said, b"", 0).reason.startswith("the owner ended with 4 without a word")
    assert not exit_of(4, said, b"", 0).again
