"""Waves, schemes and applications: what is meant, and everything that cannot be, with its line."""

from __future__ import annotations

import pytest

from kmigrate.manifest import Ending, FenceChoice, History, Scheme, WaveWish, wishes_of
from kmigrate.security.fence import FenceKind
from tests.unit.manifest.conftest import HEAD, Load, Told


def test_without_a_scheme_there_is_no_wave(load: Load) -> None:
    assert wishes_of(load(HEAD)) == ()
    assert wishes_of(load(f"{HEAD}  waves: [{{name: a, topics: [a]}}]\n  cutover: {{tailOffsets: 1}}\n")) == ()


@pytest.mark.parametrize(
    ("written", "wish"),
    [
        ("scheme: consumers-first", WaveWish(name="all", scheme=Scheme.CONSUMERS_FIRST)),
        (
            "scheme: consumers-first\n  ending: overlap\n  fence: min-isr\n  wayBack: false",
            WaveWish(
                name="all",
                scheme=Scheme.CONSUMERS_FIRST,
                ending=Ending.OVERLAP,
                fence=FenceChoice.MIN_ISR,
                has_way_back=False,
            ),
        ),
        (
            "scheme: producers-first",
            WaveWish(name="all", scheme=Scheme.PRODUCERS_FIRST, history=History.STOPPED),
        ),
        (
            "scheme: producers-first\n  history: none",
            WaveWish(name="all", scheme=Scheme.PRODUCERS_FIRST, history=History.NONE),
        ),
        (
            "scheme: producers-later",
            WaveWish(name="all", scheme=Scheme.PRODUCERS_LATER, history=History.ROLLING),
        ),
    ],
)
def test_one_wave_has_everything_where_none_is_named(load: Load, written: str, wish: WaveWish) -> None:
    assert wishes_of(load(f"{HEAD}  {written}\n")) == (wish,)
    assert wish.wants_topic("anything")
    assert wish.wants_group("anything")


def test_a_wave_has_what_it_says_and_else_what_spec_says(load: Load) -> None:
    text = """\
  scheme: producers-first
  history: rolling
  ending: overlap
  fence: acl
  wayBack: false
  waves:
    - {name: a, topics: [a]}
    - {name: b, topics: ["b.*"], groups: [g], history: none, fence: none, wayBack: true}
    - {name: c, topics: [c], scheme: consumers-first}
    - {name: d, topics: [d], scheme: consumers-first, ending: clean}
    - {name: e, topics: [e], scheme: producers-later}
"""
    a, b, c, d, e = wishes_of(load(HEAD + text))
    first, later, consumers = Scheme.PRODUCERS_FIRST, Scheme.PRODUCERS_LATER, Scheme.CONSUMERS_FIRST
    fenced = {"fence": FenceChoice.ACL, "has_way_back": False}
    assert a == WaveWish(name="a", scheme=first, topics=("a",), groups=(), history=History.ROLLING, **fenced)
    assert b == WaveWish(name="b", scheme=first, topics=("b.*",), groups=("g",), history=History.NONE)
    assert c == WaveWish(name="c", scheme=consumers, topics=("c",), groups=(), ending=Ending.OVERLAP, **fenced)
    assert d == WaveWish(name="d", scheme=consumers, topics=("d",), groups=(), **fenced)
    assert e == WaveWish(name="e", scheme=later, topics=("e",), groups=(), history=History.ROLLING, **fenced)
    assert [b.wants_topic("bee"), b.wants_topic("a"), b.wants_group("g"), a.wants_group("g")] == [True, False] * 2


def test_fences_have_the_names_of_the_command() -> None:
    assert {each.value for each in FenceChoice} - {"none"} == {each.value for each in FenceKind}


LATER_STOPPED = (
    "producers-later cannot have the history stopped: its readers are on the target before it is known where the source"
    " ends (choose the history none or rolling, or the scheme producers-first)"
)
NO_SCHEME = "says how a cutover goes, and there is no scheme (write spec.scheme, or remove the key)"


@pytest.mark.parametrize(
    ("appended", "problems"),
    [
        ("  waves:\n  - name: a\n  - name: b\n  - name: a\n", ["10: two waves are named 'a'"]),
        (
            "  scheme: first\n  history: all\n  ending: 1\n  fence: quota\n  wayBack: maybe\n",
            [
                "7: spec.scheme must be 'producers-first', 'producers-later' or 'consumers-first', not 'first'",
                "8: spec.history must be 'none', 'stopped' or 'rolling', not 'all'",
                "9: spec.ending must be 'clean' or 'overlap', not 1",
                "10: spec.fence must be 'none', 'acl' or 'min-isr', not 'quota'",
                "11: spec.wayBack must be true or false",
            ],
        ),
        (
            "  history: none\n  ending: clean\n  fence: acl\n  wayBack: true\n  waves:\n  - name: a\n    fence: none\n",
            [
                f"7: spec.history {NO_SCHEME}",
                f"8: spec.ending {NO_SCHEME}",
                f"9: spec.fence {NO_SCHEME}",
                f"10: spec.wayBack {NO_SCHEME}",
                f"13: spec.waves[0].fence {NO_SCHEME}",
            ],
        ),
        (
            "  waves:\n  - {name: a, scheme: producers-first}\n  - name: b\n",
            ["9: wave b has no scheme, and neither has spec (write a scheme there, or spec.scheme for all waves)"],
        ),
        ("  scheme: producers-later\n  history: stopped\n", [f"8: wave all: {LATER_STOPPED}"]),
        (
            "  history: stopped\n  scheme: producers-first\n  waves:\n  - name: a\n    scheme: producers-later\n"
            "  - name: b\n    scheme: producers-later\n    history: stopped\n"
            "  - {name: c, scheme: producers-later, history: none}\n",
            [f"11: wave a: {LATER_STOPPED}", f"14: wave b: {LATER_STOPPED}"],
        ),
        (
            "  scheme: consumers-first\n  history: none\n",
            ["8: spec.history has no meaning with consumers-first: everything comes along (remove the key)"],
        ),
        (
            "  scheme: producers-first\n  ending: overlap\n",
            ["8: spec.ending is for consumers-first, which no wave goes by (remove the key)"],
        ),
        (
            "  scheme: consumers-first\n  waves:\n  - name: a\n    history: none\n"
            "  - name: b\n    scheme: producers-later\n    ending: clean\n",
            [
                "10: wave a: consumers-first has no history to choose: everything comes along (remove the key)",
                "13: wave b: producers-later has no ending to choose: that is for consumers-first (remove the key)",
            ],
        ),
        (
            "  scheme: consumers-first\n  waves:\n  - {name: a, topics: [orders], groups: [shop]}\n"
            '  - {name: b, topics: ["ord.*"], groups: ["sh.*"]}\n  - name: c\n    topics:\n    - orders\n',
            [
                "9: group shop is in two waves, a and b (a group moves with one wave)",
                "9: topic orders is in two waves, a and b (a topic moves with one wave)",
                "9: topic orders is in two waves, a and c (a topic moves with one wave)",
                "13: topic orders is in two waves, b and c (a topic moves with one wave)",
            ],
        ),
        (
            "  topics: {include: [orders]}\n  groups: {exclude: [shop]}\n  scheme: consumers-first\n  waves:\n"
            "  - name: a\n    topics: [orders, pay]\n    groups: [shop]\n",
            [
                "12: wave a names topic pay, which spec.topics does not select (add it to spec.topics.include)",
                "13: wave a names group shop, which spec.groups does not select (add it to spec.groups.include)",
            ],
        ),
        (
            "  groups: {exclude: [bad]}\n  waves: [{name: a, topics: [orders]}]\n  applications:\n"
            "  - {name: one, groups: [one], reads: [orders], writes: [bills]}\n"
            "  - {name: one, groups: [bad], reads: [pay]}\n"
            "  - {name: producers, writes: [orders]}\n"
            "  - {name: idle}\n"
            "  - {name: flink, reads: [orders]}\n"
            "  - {name: good, reads: [orders], ownCheckpoints: true}\n",
            [
                "10: application one writes bills, and no wave has that topic"
                " (add it to the topics of a wave, or remove it)",
                "11: application one reads as group bad, which spec.groups does not select"
                " (add it to spec.groups.include)",
                "11: application one reads pay, and no wave has that topic"
                " (add it to the topics of a wave, or remove it)",
                "11: two applications are named 'one'",
                "12: an application cannot be named producers: so the plan calls what no application writes"
                " (give it another name)",
                "13: application idle names no group and no topic"
                " (name what it reads as, reads and writes, or remove it)",
                "14: application flink names what it reads, and no group"
                " (name its groups, or write ownCheckpoints: true if it has none)",
            ],
        ),
        (
            "  topics: {include: [orders]}\n  applications: [{name: a, writes: [pay]}]\n",
            ["8: application a writes pay, and no wave has that topic (add it to the topics of a wave, or remove it)"],
        ),
        (
            "  scheme: consumers-first\n  cutover:\n    freezeSeconds: 300\n    approvalSeconds: 330\n",
            [
                "9: cutover.freezeSeconds 300 is not longer than stillSeconds 330, and a wave has no fence: writers"
                " would be free again before it is known that they stopped (make it longer, or write a fence)",
                "10: cutover.approvalSeconds 330 is not longer than stillSeconds 330, and a wave has no fence: it would"
                " end before the step that it is for (make it longer, or write a fence)",
            ],
        ),
        (
            "  scheme: consumers-first\n  cutover:\n    stillSeconds: 700\n",
            [
                "9: cutover.freezeSeconds 600 is not longer than stillSeconds 700, and a wave has no fence: writers"
                " would be free again before it is known that they stopped (make it longer, or write a fence)",
            ],
        ),
        (
            "  cutover: {freezeSeconds: 0, tailOffsets: -1, stillSeconds: 1.5, holdSeconds: 3}\n",
            [
                "7: spec.cutover.freezeSeconds must be at least 1, not 0",
                "7: spec.cutover.stillSeconds must be a whole number, not 1.5",
                "7: spec.cutover.tailOffsets must be at least 0, not -1",
                "7: unknown key spec.cutover.holdSeconds (did you mean autoHoldSeconds?)",
            ],
        ),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(told: Told, appended: str, problems: list[str]) -> None:
    assert told(HEAD + appended) == [f"m.yaml:{each}" for each in problems]


def test_a_fence_needs_no_long_freeze(load: Load) -> None:
    load(f"{HEAD}  scheme: consumers-first\n  fence: acl\n  cutover: {{freezeSeconds: 20}}\n")
    load(f"{HEAD}  cutover: {{freezeSeconds: 20}}\n")


def test_problems_of_waves_hide_no_others(told: Told) -> None:
    text = (
        "  scheme: producers-later\n  history: stopped\n  waves: [{name: a, topics: ['('], groups: 3}]\n  workers: 0\n"
    )
    assert [each.split(": ")[1].split()[0] for each in told(HEAD + text)] == [
        "wave",
        "spec.waves[0].groups",
        "spec.waves[0].topics[0]",
        "spec.workers",
    ]
