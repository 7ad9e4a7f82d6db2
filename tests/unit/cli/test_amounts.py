"""Amounts are shown as people read them and parsed as they write them."""

import pytest

from kmigrate.cli.amounts import (
    parse_limit,
    show_bytes,
    show_count,
    show_duration,
    show_rate,
    show_share,
    show_short,
)
from kmigrate.errors import UsageError


@pytest.mark.parametrize(
    ("number", "count", "short", "size"),
    [
        (None, "?", "?", "?"),
        (0, "0", "0", "0 B"),
        (999, "999", "999", "999 B"),
        (9_999, "9,999", "9999", "10.0 kB"),
        (15_333.3, "15,333", "15.3k", "15.3 kB"),
        (1_234_567, "1,234,567", "1.23M", "1.23 MB"),
        (83_500_000_000, "83.5 G", "83.5G", "83.5 GB"),
        (2**60, "1153 P", "1153P", "1153 PB"),
    ],
)
def test_numbers(number: float | None, count: str, short: str, size: str) -> None:
    assert (show_count(number), show_short(number), show_bytes(number)) == (count, short, size)
    assert show_rate(number) == f"{size}/s"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "?"),
        (0, "0s"),
        (4.24, "4.2s"),
        (42.4, "42s"),
        (59.9, "1m00s"),
        (192, "3m12s"),
        (18_420, "5h07m"),
        (1_051_200, "12d04h"),
        (86_400 * 1_500, "1,500d00h"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert show_duration(seconds) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(None, "?"), (0, "0.0 %"), (0.6325, "63.2 %"), (0.99999, "99.9 %"), (1, "100 %")]
)
def test_shares_never_promise_what_is_not_done(share: float | None, shown: str) -> None:
    assert show_share(share) == shown


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("50000000", 50_000_000),
        ("50MB", 50_000_000),
        ("50M", 50_000_000),
        ("50 mb/s", 50_000_000),
        ("1.5G", 1_500_000_000),
        ("47.5MiB", 49_807_360),
        ("64Ki", 65_536),
        ("none", None),
        ("None", None),
        ("0", 0),
    ],
)
def test_limits(text: str, limit: int | None) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "fast", "-5", "5 parsecs", "1e6", "5MM", "٥x", "50Mbit"])
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_limit(text)
    assert "50MB" in caught.value.hint
