"""What is done about a held migration follows from what is there and what is wanted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.serve.exits import Exit
from kmigrate.serve.machine import (
    ALIVE,
    END_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LOOK_SECONDS,
    PHASES,
    STEADY_SECONDS,
    Act,
    Alive,
    Held,
    Phase,
    Wanted,
    decide,
    started,
)

NEW = Held(wanted=Wanted.RUNNING)


def ended(exit_code: int = 1, *, again: bool = True) -> Exit:
    return Exit(exit_code=exit_code, reason="why", again=again, at=0)


def running(now: float = 0.0) -> Held:
    held, act = decide(NEW, None, locked=False, now=now)
    assert act is Act.START
    return held


def test_every_phase_has_a_meaning() -> None:
    assert set(PHASES) == set(Phase)


def test_an_owner_is_started_once() -> None:
    held = running()
    assert held.phase is Phase.RUNNING
    assert decide(held, ALIVE, locked=False, now=9.0) == (held, Act.NOTHING)


def test_one_that_died_is_started_again_after_growing_pauses() -> None:
    held, now, pauses = running(), 0.0, []
    for _ in range(9):
        held, act = decide(held, ended(-9), locked=False, now=now)
        assert (held.phase, act) == (Phase.WAITING, Act.NOTHING)
        assert decide(held, None, locked=False, now=held.due - 0.1)[1] is Act.NOTHING
        pauses.append(held.due - now)
        now = held.due
        held, act = decide(held, None, locked=False, now=now)
        assert act is Act.START
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert held.restarts == 9
    held, _ = decide(held, ended(), locked=False, now=now + STEADY_SECONDS)
    assert held.due == now + STEADY_SECONDS + 1.0, "it ran for long: the first failure again"


@pytest.mark.parametrize("exit_code", [2, 4, 6])
def test_one_that_must_not_try_again_stays_ended_until_somebody_starts_it(exit_code: int) -> None:
    held, act = decide(running(), ended(exit_code, again=False), locked=False, now=1.0)
    assert (held.phase, act) == (Phase.ENDED, Act.NOTHING)
    assert held.last == ended(exit_code, again=False)
    assert decide(held, None, locked=False, now=1e9) == (held, Act.NOTHING)
    again, act = decide(started(held, 2.0), None, locked=False, now=2.0)
    assert (again.phase, act, again.restarts) == (Phase.RUNNING, Act.START, 0)


def test_one_that_was_kept_waiting_by_its_clusters_tries_again() -> None:
    held, _ = decide(running(), ended(4, again=True), locked=False, now=1.0)
    assert held.phase is Phase.WAITING


def test_what_somebody_else_owns_is_left_alone_until_that_one_ends() -> None:
    held, act = decide(NEW, None, locked=True, now=0.0)
    assert (held.phase, act) == (Phase.ELSEWHERE, Act.NOTHING)
    assert decide(held, None, locked=True, now=LOOK_SECONDS)[1] is Act.NOTHING
    assert decide(held, None, locked=False, now=LOOK_SECONDS)[1] is Act.START
    refused, act = decide(running(), ended(6, again=False), locked=True, now=0.0)
    assert (refused.phase, act) == (Phase.ELSEWHERE, Act.NOTHING), "a run was faster"


def test_one_that_is_asked_to_end_has_its_time_and_is_killed_after_it() -> None:
    stopping, act = decide(replace(running(), wanted=Wanted.STOPPED), ALIVE, locked=False, now=5.0)
    assert (stopping.phase, act) == (Phase.ENDING, Act.END)
    assert decide(stopping, ALIVE, locked=False, now=5.0 + END_SECONDS - 0.1)[1] is Act.NOTHING
    assert decide(stopping, ALIVE, locked=False, now=5.0 + END_SECONDS)[1] is Act.KILL
    held, act = decide(stopping, ended(130), locked=False, now=6.0)
    assert (held.phase, act) == (Phase.STOPPED, Act.NOTHING)


def test_one_that_is_wanted_again_while_it_ends_is_followed_by_another() -> None:
    stopping, _ = decide(replace(running(), wanted=Wanted.STOPPED), ALIVE, locked=False, now=5.0)
    back = started(stopping, 6.0)
    assert back.phase is Phase.ENDING
    held, act = decide(back, ended(130), locked=False, now=7.0)
    assert (held.phase, act) == (Phase.RUNNING, Act.START)


def test_a_new_manifest_ends_the_owner_and_starts_another() -> None:
    held, act = decide(replace(running(), renew=True), ALIVE, locked=False, now=5.0)
    assert act is Act.END
    held, act = decide(held, ended(130), locked=False, now=6.0)
    assert (act, held.renew) == (Act.START, False)


def test_what_is_to_be_forgotten_ends_first() -> None:
    going = replace(running(), wanted=Wanted.FORGOTTEN)
    going, act = decide(going, ALIVE, locked=False, now=1.0)
    assert act is Act.END
    assert decide(going, ended(130), locked=False, now=2.0)[1] is Act.FORGET


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["look", "die", "blocked", "start", "stop", "forget", "renew"]),
        st.booleans(),
        st.floats(0.0, 100.0, allow_nan=False),
    ),
    max_size=60,
)


@given(EVENTS)
def test_whatever_happens_there_is_never_a_second_owner_and_always_a_way_on(
    events: list[tuple[str, bool, float]],
) -> None:
    held, alive, now = NEW, False, 0.0
    for event, locked, passed in events:
        now += passed
        match event:
            case "start" if held.wanted is not Wanted.FORGOTTEN:
                held = started(held, now)
            case "stop" if held.wanted is not Wanted.FORGOTTEN:
                held = replace(held, wanted=Wanted.STOPPED)
            case "forget":
                held = replace(held, wanted=Wanted.FORGOTTEN)
            case "renew":
                held = replace(held, renew=alive)
        child: Alive | Exit | None = ALIVE if alive else None
        if alive and event in ("die", "blocked"):
            child, alive = (ended() if event == "die" else ended(4, again=False)), False
        held, act = decide(held, child, locked=locked, now=now)
        assert act is not Act.START or not alive
        assert act not in (Act.END, Act.KILL) or alive
        assert act is not Act.START or (held.wanted is Wanted.RUNNING and not locked)
        alive = alive or act is Act.START
        if act is Act.FORGET:
            return
    if not alive and held.wanted is not Wanted.FORGOTTEN:
        held, act = decide(started(held, now), None, locked=False, now=now)
        assert act is Act.START or held.phase is Phase.ENDING
