"""A `sasl.jaas.config` is read as Java reads it; one that is wrong is never quoted."""

from __future__ import annotations

import pytest

from kmigrate.manifest.jaas import JaasError, parse_jaas

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (f'{PLAIN} required username="u" password="p";', {"username": "u", "password": "p"}),
        (
            f"  {PLAIN}\n required\n  username=u // who\n  password='it is \"p\"' ;  ",
            {"username": "u", "password": 'it is "p"'},
        ),
        (f"{PLAIN} REQUIRED;", {}),
        (f'{PLAIN} required password="a\\"b\\\\c\\n\\101";', {"password": 'a"b\\c\nA'}),
        (f'{PLAIN} required /* no */ password="a;b=c // d";', {"password": "a;b=c // d"}),
        (
            f'{PLAIN} optional extension_logicalCluster="lkc-1" username = "u";',
            {"extension_logicalCluster": "lkc-1", "username": "u"},
        ),
    ],
)
def test_a_login_module_is_read(text: str, options: dict[str, str]) -> None:
    module = parse_jaas(text)
    assert (module.name, dict(module.options)) == ("PlainLoginModule", options)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "semicolon"),
        (f'{PLAIN} required password="hunter2"', "semicolon"),
        (";", "login module"),
        (f"{PLAIN};", "`required`"),
        (f'{PLAIN} password="hunter2";', "`required`"),
        (f'{PLAIN} required password "hunter2";', "key="),
        (f"{PLAIN} required password=;", "key="),
        (f"{PLAIN} required password=hunter2!;", "double quotes"),
        (f'{PLAIN} required password="hunter2;', "quotes must be closed"),
        (f"{PLAIN} required; {PLAIN} required;", "one login module"),
    ],
)
def test_a_text_that_cannot_be_read_is_not_quoted(text: str, why: str) -> None:
    with pytest.raises(JaasError, match=why) as caught:
        parse_jaas(text)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__context__)
