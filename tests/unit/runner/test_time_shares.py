"""What holds the copy back is said of the last seconds, of pipelines that had something to copy."""

from __future__ import annotations

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.spending import NOTHING_SPENT, Cause, Spent
from kmigrate.kafka_types import BrokerId
from kmigrate.runner.time_shares import TimeShares

ONE, TWO = (PipelineKey(0, BrokerId(1), BrokerId(1), lane) for lane in range(2))


def test_shares_are_of_all_pipelines_together_the_largest_first() -> None:
    shares = TimeShares()
    for second in range(5):
        shares.observe(ONE, Spent(own=0.2 * second + 0.1, target=0.8 * second), second * 1000)
        shares.observe(TWO, Spent(source=1.0 * second + 0.1), second * 1000)
    assert [cause for cause, _ in shares.of_window(4_500)] == [Cause.SOURCE, Cause.TARGET, Cause.OWN]
    assert sum(share for _, share in shares.of_window(4_500)) == 1


def test_what_is_long_past_does_not_count() -> None:
    shares = TimeShares()
    spent = NOTHING_SPENT
    for second in range(60):
        spent = spent.plus(Spent(target=1.0) if second < 40 else Spent(own=1.0))
        shares.observe(ONE, spent, second * 1000)
    assert shares.of_window(59_000) == [(Cause.OWN, 1.0)]
    assert shares.of_window(80_000) == (), "nobody has said anything since"


def test_without_work_nothing_holds_back() -> None:
    shares = TimeShares()
    assert shares.of_window(0) == ()
    shares.observe(ONE, Spent(nothing=1.0), 0)
    shares.observe(ONE, Spent(own=0.1, nothing=5.0), 5_000)
    assert shares.of_window(5_000) == ()


def test_a_pipeline_that_began_anew_counts_from_its_beginning() -> None:
    shares = TimeShares()
    shares.observe(ONE, Spent(own=50.0), 0)
    shares.observe(ONE, NOTHING_SPENT, 500)
    shares.observe(ONE, Spent(target=2.0), 2_000)
    assert shares.of_window(2_000) == [(Cause.TARGET, 1.0)]
    assert shares.spent == Spent(own=50.0, target=2.0)
