"""Client quotas are added where the target has none; what it has otherwise stays."""

from __future__ import annotations

from kmigrate.security.quotas import QuotaFate, Quotas, decide_quotas, name_entity, show_value

APP, APP2 = (("user", "app"),), (("user", "app2"),)
DEFAULT = (("client-id", None), ("user", "bob"))
OURS = (("client-id", "kmigrate-m"),)
PRINCIPALS = {"User:app": "User:app2"}


def fates(source: Quotas, target: Quotas) -> list[tuple[str, str, QuotaFate]]:
    decisions = decide_quotas(source, target, PRINCIPALS, {"kmigrate-m"})
    assert all(each.reason for each in decisions)
    return [(name_entity(each.entity), each.key, each.fate) for each in decisions]


def test_a_value_that_the_target_has_not_is_set_under_the_targets_name() -> None:
    assert fates({APP: {"producer_byte_rate": 5.0, "consumer_byte_rate": 6.0}}, {}) == [
        ("user app2", "consumer_byte_rate", QuotaFate.SET),
        ("user app2", "producer_byte_rate", QuotaFate.SET),
    ]


def test_what_the_target_has_stays() -> None:
    source = {APP: {"a": 1.0, "b": 2.0}}
    assert fates(source, {APP2: {"a": 1.0, "b": 3.0}}) == [
        ("user app2", "a", QuotaFate.PRESENT),
        ("user app2", "b", QuotaFate.DIFFERENT),
    ]


def test_defaults_and_our_own_are_told_apart() -> None:
    assert fates({DEFAULT: {"a": 1.0}, OURS: {"a": 1.0}}, {}) == [
        ("client-id <default>, user bob", "a", QuotaFate.SET),
        ("client-id kmigrate-m", "a", QuotaFate.LEFT_OUT),
    ]


def test_values_are_shown_as_they_were_written() -> None:
    assert (show_value(4096.0), show_value(12.5)) == ("4096", "12.5")
