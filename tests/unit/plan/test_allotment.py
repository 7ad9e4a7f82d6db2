"""What all filler together may take is given to as few that give way as the order allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.plan.allotment import Claim, give_way
from tests.unit.plan.known import place

CLAIMS = st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=8).map(
    lambda drawn: [Claim(place("t", number), filler, forced) for number, (filler, forced) in enumerate(drawn)]
)


def test_the_largest_gives_way_first_and_what_is_forced_last() -> None:
    small, large, forced = (
        Claim(place("t", number), filler, filler == 90) for number, filler in enumerate((10, 50, 90))
    )
    assert give_way([small, large, forced], 150) == set()
    assert give_way([small, large, forced], 149) == {large.partition}
    assert give_way([small, large, forced], 90) == {small.partition, large.partition}
    assert give_way([small, large, forced], 89) == {small.partition, large.partition, forced.partition}


@given(CLAIMS, st.integers(0, 400))
def test_what_stays_fits_and_nobody_that_is_forced_gives_way_in_vain(claims: list[Claim], left: int) -> None:
    given_way = give_way(claims, left)
    stays = sum(each.filler for each in claims if each.partition not in given_way)
    assert stays <= left
    for each in claims:
        if each.forced and each.partition in given_way:
            assert stays + each.filler > left


@given(CLAIMS, st.integers(0, 400))
def test_the_order_of_the_claims_does_not_matter(claims: list[Claim], left: int) -> None:
    assert give_way(claims, left) == give_way(claims[::-1], left)
