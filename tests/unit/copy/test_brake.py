"""A target that answers late is asked less, and at once as before when it is quick again."""

from __future__ import annotations

from kmigrate.copy.brake import Brake


def test_pauses_grow_while_answers_are_late_and_end_when_they_are_not() -> None:
    brake = Brake()
    pauses = []
    for _ in range(30):
        brake.on_answer(0.2, 10.0, 50)
        pauses.append(brake.delay_seconds(10.0))
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1] == 2.0, "at most two seconds"
    for _ in range(40):
        brake.on_answer(0.001, 10.0, 50)
    assert brake.delay_seconds(10.0) == 0.0


def test_a_single_late_answer_is_forgiven() -> None:
    brake = Brake()
    for _ in range(10):
        brake.on_answer(0.001, 0.0, 50)
    brake.on_answer(0.1, 0.0, 50)
    assert brake.delay_seconds(0.0) == 0.0


def test_without_a_limit_nothing_is_remembered() -> None:
    brake = Brake()
    brake.on_answer(5.0, 1.0, 50)
    assert brake.delay_seconds(1.0) > 0
    brake.on_answer(5.0, 1.0, None)
    assert brake.delay_seconds(1.0) == 0.0
    brake.on_answer(0.001, 1.0, 50)
    assert brake.delay_seconds(1.0) == 0.0
