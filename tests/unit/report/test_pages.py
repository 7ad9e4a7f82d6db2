"""Markdown and HTML show the same page: everything, escaped, and what is all the same once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from kmigrate.report.account import ReportDocument
from kmigrate.report.as_html import to_html
from kmigrate.report.as_markdown import escape, to_markdown
from kmigrate.report.blocks import Everything, Table, clean
from kmigrate.report.page import make_page
from kmigrate.report.words import fold_alike, show_names, show_ranges, show_span, show_time
from kmigrate.state.journal import ChainState

from .accounts import AT, LEDGER, huge_account, whole_account

HEADINGS = (
    "Clusters and versions",
    "Topics and partitions",
    "Settings",
    "Verification",
    "Differences",
    "Stops, answers and waivers",
    "Consumer groups",
    "Fences",
    "Cutovers",
    "Times of unavailability",
    "What was done to the clusters",
    "Journal",
    "What is not known",
    "The journal's chain",
)


def markdown(document: ReportDocument) -> str:
    return to_markdown(make_page(document))


def html(document: ReportDocument) -> str:
    return to_html(document.name, make_page(document))


class Reader(HTMLParser):
    """What a browser sees: elements, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


@pytest.mark.parametrize("render", [markdown, html])
def test_every_section_is_there_in_every_form(render: Callable[[ReportDocument], str]) -> None:
    text = render(whole_account()).replace("&#x27;", "'")
    places = [text.index(f"{heading}\n" if render is markdown else f">{heading}</h") for heading in HEADINGS]
    assert places == sorted(places)
    for word in ("FOREIGN_WRITE", "waived: left as it is", "lifted", "create-topic", "console-consumer-1", "31"):
        assert word in text
    assert (
        text.rstrip().removesuffix("</body>\n</html>").rstrip().removesuffix("</p>").endswith("as they were written.")
    )


def test_no_name_and_no_message_becomes_markup_or_moves_a_cursor() -> None:
    for text in (markdown(whole_account()), html(whole_account())):
        assert "<script" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert all(
        line.startswith(("#", "|", "*", "\\")) or "<" not in line for line in markdown(whole_account()).splitlines()
    )
    reader = read(html(whole_account()))
    assert "<script>alert(" in reader.text, "it is shown as it is"


def test_the_html_needs_nothing_else_and_closes_what_it_opens() -> None:
    reader = read(html(whole_account()))
    assert reader.open == []
    assert set(reader.elements).isdisjoint({"script", "link", "img", "iframe", "object", "form", "a"})
    assert not {name for name, _ in reader.attributes} & {"src", "href", "onclick", "onload"}
    assert "url(" not in html(whole_account())
    assert "default-src 'none'" in dict(reader.attributes).get("content", "") or any(
        "default-src 'none'" in (value or "") for _, value in reader.attributes
    )


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_titles() -> None:
    for paragraph in markdown(whole_account()).split("\n\n"):
        if paragraph.startswith("|"):
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in paragraph.splitlines()}
            assert len(counts) == 1, paragraph


def test_a_broken_chain_is_the_first_and_the_last_thing_that_is_said() -> None:
    broken = ChainState(count=7, number=7, hash="f" * 64, broken_at=3, reason="entry 3 is missing, 4 comes next")
    text = markdown(whole_account(ledger=dataclasses.replace(LEDGER, chain=broken)))
    sentence = "**The chain is broken from entry 3 on: entry 3 is missing, 4 comes next.**"
    assert text.count(sentence) == 2
    assert text.index(sentence) < text.index("Made 2025")
    assert text.rstrip().endswith(sentence)


def test_cutovers_and_times_of_unavailability_are_shown_with_their_own_titles() -> None:
    text = markdown(
        whole_account(
            cutovers=({"wave": "first", "outcome": "done"}, {"wave": "second", "steps": [1, 2]}),
            unavailable=({"topic": "pay", "since": AT, "seconds": 4},),
        )
    )
    assert "| wave | outcome | steps |" in text
    assert "| second | not known | \\[1,2\\] |" in text
    assert "| topic | since | seconds |" in text
    assert f"| pay | {show_time(AT)} | 4 |" in text


@pytest.mark.parametrize(("topics", "partitions"), [(1, 20_000), (20_000, 1), (2_000, 10)])
def test_a_huge_migration_that_is_all_the_same_is_a_short_page(topics: int, partitions: int) -> None:
    document = huge_account(topics, partitions)
    page = make_page(document)
    text = to_markdown(page)
    assert len(text.splitlines()) < 150
    assert max(map(len, text.splitlines())) < 1_000
    assert f"Every partition ({topics * partitions:,}): too many for this page" in text.replace("\\", "")
    (every,) = (block for block in page if isinstance(block, Everything))
    assert len(every.table.rows) == topics * partitions
    assert to_html("huge", page).count("<tr>") > topics * partitions, "the HTML form has each of them"


def test_one_that_is_not_the_same_is_not_folded_away() -> None:
    document = huge_account(1, 20_000)
    (topic,) = document.topics
    odd = dataclasses.replace(topic.partitions[777], verifications=())
    partitions = (*topic.partitions[:777], odd, *topic.partitions[778:])
    changed = dataclasses.replace(document, topics=(dataclasses.replace(topic, partitions=partitions),))
    rows = [line for line in markdown(changed).splitlines() if line.startswith("| topic-00000 | ")]
    assert any("| 777 (1) |" in row and "not verified" in row for row in rows)
    assert any("| 0-776, 778-19999 (19,999) |" in row for row in rows)


def test_a_table_that_is_too_long_says_how_much_is_missing() -> None:
    table = Table(("A",), tuple((str(number),) for number in range(9)), most=4)
    assert "… and 5 more; the JSON form has all 9." in to_markdown([table])
    assert to_html("x", [table]).count("<td>") == 4
    assert to_html("x", [Everything("all", table)]).count("<td>") == 9


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cleanup.policy_x", "cleanup.policy_x"),
        ("_a_ __b", r"\_a\_ \_\_b"),
        ("a|b`c*d[e]", r"a\|b\`c\*d\[e\]"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a\nb\tc\x00", r"a b\\tc\\x00"),
    ],
)
def test_markdown_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_signs_that_nobody_sees_are_shown_as_their_codes() -> None:
    assert clean("größe 5 €") == "größe 5 €"
    assert clean("a\u200bb\ud800") == "a\\u200bb\\ud800"


def test_words_for_numbers_names_and_times() -> None:
    assert show_ranges([5, 0, 2, 1]) == "0-2, 5"
    assert show_ranges(range(0, 100, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 … 98"
    assert show_names(["a", "b"]) == "a, b"
    assert show_names([f"t{number}" for number in range(40)]) == "t0, t1, t2, t3, t4, t5 … t39 (40 in all)"
    assert show_span([3, None, 9]) == "3 to 9; not known of 1"
    assert (show_span([]), show_span([4])) == ("not known", "4")
    assert show_time(10**18) == "1000000000000000000 ms"
    assert [len(each) for each in fold_alike("aaabbc", key=str)] == [3, 1, 1, 1]
