"""Checks of readers: who stopped, who began where, and whose records are read on both sides.

Rule: as in `gates.py`.
"""

from __future__ import annotations

from kmigrate.schemes.gates import WORD, Answer, View, every
from kmigrate.words import count_of


def check_no_early_readers(view: View) -> Answer:
    return every(
        ((name, each.target_members) for name, each in view.groups()),
        lambda members: members == 0,
        of="group",
        good="{all}, none with members on the target",
        bad=lambda members: f"{count_of(members, 'member')} on the target",
        way="stop that group on the target: it reads there too early",
    )


def check_readers_stopped(view: View) -> Answer:
    if view.needs_word:
        return False, f"{view.move.name} is not known to have stopped", WORD
    return every(
        ((name, each.source_members) for name, each in view.groups()),
        lambda members: members == 0,
        of="group",
        good="{all}, none with members on the source",
        bad=lambda members: f"{count_of(members, 'member')} on the source",
        way="stop every member of that group on the source; one that does not answer is dropped after its session",
    )


def check_commits_copied(view: View) -> Answer:
    return every(
        ((name, each.are_commits_copied) for name, each in view.groups()),
        bool,
        of="group",
        good="{all}: nothing is committed that is not copied",
        bad=lambda _: "has committed what is not copied yet",
        way="wait for the copy",
    )


def check_drained(view: View) -> Answer:
    if view.needs_word:
        return False, f"{view.move.name} is not known to have read everything", WORD
    return every(
        ((name, each.source_lag) for name, each in view.groups()),
        lambda lag: lag == 0,
        of="group",
        good="{all}: the source is read to its end",
        bad=lambda lag: f"{count_of(lag, 'record')} to read on the source",
        way="leave it running there, or start it again; `kmigrate group progress -f FILE` shows when it will be done",
    )


def check_prepared(view: View) -> Answer:
    return every(
        ((name, each.is_prepared) for name, each in view.groups()),
        bool,
        of="group",
        good="{all}: the commits were read back on the target",
        bad=lambda _: "its commits on the target are not what was written",
        way="`kmigrate group list -f FILE` shows what is there",
    )


def check_readers_present(view: View) -> Answer:
    if view.needs_word:
        return False, f"{view.move.name} is not known to run on the target", WORD
    return every(
        ((name, each.target_members) for name, each in view.groups()),
        lambda members: members > 0,
        of="group",
        good="{all}: with members on the target",
        bad=lambda _: "no member on the target",
        way="start that group with the target's address",
    )


def check_all_owned(view: View) -> Answer:
    return every(
        ((name, each.unowned_on_target) for name, each in view.groups()),
        lambda unowned: unowned == 0,
        of="group",
        good="{all}: every partition on the target has a member",
        bad=lambda unowned: f"{count_of(unowned, 'partition')} on the target without a member",
        way="start more members, or wait for the rebalance",
    )


def check_positions_hold(view: View) -> Answer:
    return every(
        ((name, each.do_positions_hold) for name, each in view.groups()),
        bool,
        of="group",
        good="{all}: reading on the target began at the commits",
        bad=lambda _: "began elsewhere than it was committed",
        way="stop it, `kmigrate group reset -f FILE` sets its commits, and start it again",
    )


def check_gone_from_source(view: View) -> Answer:
    return every(
        ((name, each.source_members) for name, each in view.groups()),
        lambda members: members == 0,
        of="group",
        good="{all}: no member is left on the source",
        bad=lambda members: f"{count_of(members, 'member')} still on the source",
        way="stop them: what they read there was or will be read on the target as well",
    )


def check_lag_falling(view: View) -> Answer:
    lags = (
        (
            name,
            None if each.target_lag is None else (each.target_lag, each.target_lag == 0 or each.is_target_lag_falling),
        )
        for name, each in view.groups()
    )
    return every(
        lags,
        lambda seen: bool(seen[1]),
        of="group",
        good="{all}: reading keeps up on the target",
        bad=lambda seen: f"{count_of(seen[0], 'record')} behind on the target, and not known to get fewer",
        way="see whether its members there are healthy",
    )


def check_readers_away(view: View) -> Answer:
    members = (
        (
            name,
            None
            if each.source_members is None or each.target_members is None
            else (each.source_members, each.target_members),
        )
        for name, each in view.groups()
    )
    return every(
        members,
        lambda seen: seen == (0, 0),
        of="group",
        good="{all}, none with members on either side",
        bad=lambda seen: f"{count_of(seen[0], 'member')} on the source, {seen[1]:,} on the target",
        way="stop that group on both clusters; `abort` ends the way back",
    )


def check_source_in_use(view: View) -> Answer:
    if view.is_attested:
        return True, "the operator attests that the applications are on the source", ""
    return every(
        ((name, each.source_members) for name, each in view.groups()),
        lambda members: members > 0,
        of="group",
        good="{all}: with members on the source",
        bad=lambda _: "no member on the source",
        way="start that group with the source's address; attest it for one that is not to run now",
    )
