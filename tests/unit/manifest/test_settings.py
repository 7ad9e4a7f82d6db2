"""Client properties become settings; what may be a secret is never printed."""

from __future__ import annotations

import pickle

import pytest

from kmigrate.errors import Problem
from kmigrate.manifest.settings import (
    ClientProperties,
    ClusterSettings,
    HostPort,
    Interpreted,
    PropertyEntry,
    interpret_properties,
    parse_bootstrap,
)

MISSING = Problem(file="m.yaml", line=5, message="no brokers")


def entry(key: str, value: str, *, secret: bool = False) -> PropertyEntry:
    written = "${env:X}" if secret else value
    return PropertyEntry(key=key, written=written, value=value, secret=secret, file="c.properties", line=3)


def interpreted(**values: str) -> Interpreted:
    entries = {key.replace("_", "."): entry(key.replace("_", "."), value) for key, value in values.items()}
    return interpret_properties(entries, cluster_id=None, if_missing=MISSING)


def settings(**values: str) -> ClusterSettings:
    outcome = interpreted(**values)
    assert outcome.problems == ()
    assert outcome.settings is not None
    return outcome.settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:9092", [("a", 9092)]),
        (" a:1 , b.example.com:65535 ,", [("a", 1), ("b.example.com", 65535)]),
        ("[::1]:9092,[fe80::1%eth0]:9093", [("::1", 9092), ("fe80::1%eth0", 9093)]),
        ("10.0.0.7:9092", [("10.0.0.7", 9092)]),
    ],
)
def test_a_bootstrap_list_is_read(text: str, expected: list[tuple[str, int]]) -> None:
    assert parse_bootstrap(entry("bootstrap.servers", text)) == (tuple(expected), ())


@pytest.mark.parametrize(
    "part",
    ["a", "a:", ":9092", "a:0", "a:65536", "a:x", "::1:9092", "[::1]", "[nope]:9092", "a b:1", "x@a:1"],
)
def test_a_part_that_is_no_address_is_told(part: str) -> None:
    found, problems = parse_bootstrap(entry("bootstrap.servers", f"ok:1,{part}"))
    assert found == (HostPort("ok", 1),)
    assert [(p.file, p.line, p.message) for p in problems] == [
        ("c.properties", 3, f"bootstrap.servers: {part!r} is not host:port")
    ]


@pytest.mark.parametrize("text", ["", " ", ","])
def test_a_list_without_a_broker_is_a_problem(text: str) -> None:
    outcome = interpreted(bootstrap_servers=text)
    assert outcome.settings is None
    assert [p.message for p in outcome.problems] == ["bootstrap.servers names no broker"]


def test_an_address_is_shown_as_it_is_written() -> None:
    assert [str(HostPort("a", 1)), str(HostPort("::1", 2))] == ["a:1", "[::1]:2"]


def test_defaults_are_those_of_the_java_client() -> None:
    found = settings(bootstrap_servers="a:1")
    assert (found.request_timeout_ms, found.connection_setup_timeout_ms) == (30_000, 10_000)
    assert found.client_id is None


def test_honoured_keys_are_taken() -> None:
    found = settings(
        metadata_broker_list="a:1",
        client_id=" me ",
        request_timeout_ms=" 20000 ",
        socket_connection_setup_timeout_ms="7",
        unknown_key="kept",
    )
    assert found.bootstrap == (("a", 1),)
    assert found.client_id == "me"
    assert found.request_timeout_ms == 20_000
    assert found.connection_setup_timeout_ms == 7
    assert found.raw["unknown.key"] == "kept"


def test_the_later_spelling_of_the_bootstrap_list_wins() -> None:
    assert settings(bootstrap_servers="a:1", metadata_broker_list="b:2").bootstrap == (("b", 2),)
    assert settings(metadata_broker_list="b:2", bootstrap_servers="a:1").bootstrap == (("a", 1),)


@pytest.mark.parametrize("value", ["", "x", "1.5", "-1", "0", "2147483648", "9" * 5000, "1_000", "١"])
def test_a_time_that_is_none_is_a_problem(value: str) -> None:
    outcome = interpreted(bootstrap_servers="a:1", request_timeout_ms=value)
    assert outcome.settings is None
    assert len(outcome.problems) == 1
    assert outcome.problems[0].message.startswith("request.timeout.ms must be a whole number from 1 to")


def test_without_a_bootstrap_list_the_given_problem_is_told() -> None:
    assert interpreted(client_id="x") == Interpreted(settings=None, problems=(MISSING,))


def test_a_wrong_value_from_a_reference_is_not_quoted() -> None:
    entries = {"bootstrap.servers": entry("bootstrap.servers", "hunter2", secret=True)}
    outcome = interpret_properties(entries, cluster_id=None, if_missing=None)
    assert "hunter2" not in str(outcome.problems)
    assert "${env:X}" in str(outcome.problems)


@pytest.mark.parametrize(
    "key",
    [
        "ssl.key.password",
        "sasl.jaas.config",
        "SASL.PASSWORD",
        "sasl.oauthbearer.client.secret",
        "my.token",
        "ssl.keystore.certificate.chain",
        "basic.auth.user.info",
        "aws.credential",
    ],
)
def test_secret_looking_values_are_not_printed(key: str) -> None:
    found = interpret_properties(
        {
            "bootstrap.servers": entry("bootstrap.servers", "a:1"),
            key: entry(key, "hunter2"),
            "plain.name": entry("plain.name", "hunter3", secret=True),
        },
        cluster_id="id",
        if_missing=None,
    ).settings
    assert found is not None
    for text in (repr(found), str(found), f"{found.raw}", str(found.raw.masked())):
        assert "hunter" not in text
        assert "a:1" in text or "'a'" in text
    assert (found.raw[key], found.raw["plain.name"]) == ("hunter2", "hunter3")
    assert "hunter" not in repr(entry(key, "hunter2"))


def test_a_password_in_an_address_is_a_secret() -> None:
    url = "schema.registry.url"
    found = ClientProperties.of({url: entry(url, "https://me:hunter2@registry:8081/v1")})
    assert found.masked() == {url: "https://***@registry:8081/v1"}
    assert found[url] == "https://me:hunter2@registry:8081/v1"


def test_settings_are_values() -> None:
    one, other = settings(bootstrap_servers="a:1", x="y"), settings(bootstrap_servers="a:1", x="y")
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != settings(bootstrap_servers="a:1", x="z")
    assert dict(ClientProperties(values_by_key={"a": "b"})) == {"a": "b"}
