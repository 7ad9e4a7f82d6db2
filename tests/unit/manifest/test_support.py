"""What this version does not honour is refused with its line, or named in a notice."""

from __future__ import annotations

import pytest

from tests.unit.manifest.conftest import HEAD, Load, Told

PLAINTEXT_HINT = "(only PLAINTEXT connections, without sasl.* and ssl.* keys)"


@pytest.mark.parametrize("start", ["earliest", "latest", "2024-05-01T00:00:00Z"])
def test_every_start_is_copied_from(load: Load, start: str) -> None:
    manifest = load(f"{HEAD}  start: {start}\n")
    assert (manifest.start, manifest.notices) == (start, ())


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_address_map_is_refused_unless_it_is_empty(load: Load, told: Told, side: str) -> None:
    line = 5 if side == "source" else 6
    mapped = HEAD.replace(f"{side}: {{", f"{side}: {{addressMap: {{'10.0.0.7:9092': 'nat:19092'}}, ")
    assert told(mapped) == [
        f"m.yaml:{line}: spec.{side}.addressMap is not supported by this version "
        "(brokers must be reachable as advertised)"
    ]
    load(HEAD.replace(f"{side}: {{", f"{side}: {{addressMap: {{}}, "))


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT", "sasl_ssl", "", "nonsense"])
def test_only_plaintext_is_spoken(told: Told, protocol: str) -> None:
    text = HEAD.replace(
        '{bootstrap.servers: "a:9092"}', f'{{bootstrap.servers: "a:1", security.protocol: "{protocol}"}}'
    )
    assert told(text) == [
        f"m.yaml:5: security.protocol other than PLAINTEXT is not supported by this version {PLAINTEXT_HINT}"
    ]


def test_plaintext_may_be_said(load: Load) -> None:
    for protocol in ("PLAINTEXT", "plaintext", " PLAINTEXT "):
        load(HEAD.replace('"a:9092"', f'"a:9092", security.protocol: "{protocol}"'))


@pytest.mark.parametrize(
    "key",
    [
        "sasl.jaas.config",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "ssl.truststore.type",
        "ssl.ca.location",
        "enable.ssl.certificate.verification",
        "security.providers",
    ],
)
def test_security_keys_are_refused_where_they_stand(told: Told, key: str) -> None:
    text = HEAD.replace('properties: {bootstrap.servers: "a:9092"}', "propertiesFile: s.properties")
    assert told(text, s_properties=f"bootstrap.servers=a:9092\n\n{key}=hunter2\n") == [
        f"s.properties:3: {key} is not supported by this version {PLAINTEXT_HINT}"
    ]


def test_an_unset_secret_does_not_hide_that_its_key_is_refused(told: Told) -> None:
    assert told(HEAD.replace('"a:9092"', '"a:9092", sasl.password: "${env:NOPE}"')) == [
        f"m.yaml:5: sasl.password is not supported by this version {PLAINTEXT_HINT}",
        "m.yaml:5: sasl.password: environment variable 'NOPE' is not set",
    ]


@pytest.mark.parametrize(
    ("appended", "notices"),
    [
        ("", ()),
        ("  offsets: {class: identical, padBudget: 1, padBudgetTotal: 2, gapBudget: 3}\n", ()),
        ("  scheme: consumers-first\n", ("scheme: accepted, not acted on by this version",)),
        (
            "  waves: [{name: w, topics: [a], groups: [b], scheme: producers-first}]\n"
            "  scheme: producers-first\n  groups: {include: ['.*']}\n",
            ("groups, scheme, waves: accepted, not acted on by this version",),
        ),
    ],
)
def test_what_is_not_acted_on_is_told_in_one_notice(load: Load, appended: str, notices: tuple[str, ...]) -> None:
    assert load(HEAD + appended).notices == notices
