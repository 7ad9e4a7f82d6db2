"""A cluster's settings come from its properties file and the manifest; a problem has its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.manifest.conftest import Load, Told

TEXT = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source:
    SOURCE
  target:
    properties: {bootstrap.servers: "b:9092"}
"""


def with_source(*lines: str) -> str:
    return TEXT.replace("SOURCE", "\n    ".join(lines))


def test_keys_of_the_manifest_win_over_the_file(load: Load) -> None:
    found = load(
        with_source("propertiesFile: s.properties", "properties: {client.id: here, request.timeout.ms: 7}"),
        s_properties="bootstrap.servers=a:9092\nclient.id=there\nlinger.ms=5\n",
    ).source
    assert found.bootstrap == (("a", 9092),)
    assert (found.client_id, found.request_timeout_ms) == ("here", 7)
    assert dict(found.raw) == {
        "bootstrap.servers": "a:9092",
        "client.id": "here",
        "linger.ms": "5",
        "request.timeout.ms": "7",
    }


def test_the_other_spelling_in_the_manifest_wins_too(load: Load) -> None:
    found = load(
        with_source("propertiesFile: s.properties", "properties: {metadata.broker.list: 'c:1'}"),
        s_properties="bootstrap.servers=a:9092\n",
    )
    assert found.source.bootstrap == (("c", 1),)


def test_only_the_value_that_wins_is_looked_at(load: Load) -> None:
    found = load(
        with_source("propertiesFile: s.properties", "properties: {security.protocol: plaintext, client.id: me}"),
        s_properties="bootstrap.servers=a:9092\nsecurity.protocol=SSL\nclient.id=${env:NOPE}\n",
    )
    assert found.source.client_id == "me"


def test_a_relative_file_starts_at_the_manifests_folder(load: Load, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "broker").write_text("a:9092\n")
    (tmp_path / "conf" / "s.properties").write_text("bootstrap.servers=${file:broker}")
    for written in ("conf/s.properties", str(tmp_path / "conf" / "s.properties"), "${env:WHERE}"):
        found = load(with_source(f"propertiesFile: {written}"), environ={"WHERE": "conf/s.properties"})
        assert found.source.bootstrap == (("a", 9092),)


def test_a_file_is_read_as_latin_1_with_escapes(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s.properties").write_bytes(b"bootstrap.servers=a:1\nx=caf\xe9\\u20ac\n")
    assert load(with_source("propertiesFile: s.properties")).source.raw["x"] == "café€"


def test_references_are_resolved_in_every_text_of_the_section(load: Load) -> None:
    found = load(
        with_source("clusterId: ${env:ID}", "properties: {bootstrap.servers: '${env:HOST}:9092', client.id: '$${x}'}"),
        environ={"ID": "5L6g3n", "HOST": "a"},
    ).source
    assert (found.cluster_id, found.bootstrap, found.client_id) == ("5L6g3n", (("a", 9092),), "${x}")
    assert found.raw.masked()["bootstrap.servers"] == "***"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["clusterId: x"], "m.yaml:5: spec.source has no bootstrap.servers "
                           "(name the brokers in propertiesFile or properties)"),
        (["properties:", "  client.id: x"], "m.yaml:5: spec.source has no bootstrap.servers "
                                            "(name the brokers in propertiesFile or properties)"),
        (["clusterId: x", "propertiesFile: nope.properties"],
         "m.yaml:7: nope.properties cannot be read: No such file or directory"),
        (["propertiesFile: '${env:NOPE}'"],
         "m.yaml:6: propertiesFile: environment variable 'NOPE' is not set"),
        (["properties:", "  client.id: x", "  bootstrap.servers: ${env:NOPE}"],
         "m.yaml:8: bootstrap.servers: environment variable 'NOPE' is not set"),
        (["properties:", "  client.id: x", "  bootstrap.servers: a"],
         "m.yaml:8: bootstrap.servers: 'a' is not host:port "
         "(an IPv6 address stands in brackets: [::1]:9092)"),
        (["propertiesFile: s.properties"],
         "s.properties:3: request.timeout.ms must be a whole number from 1 to 2147483647, not 'soon'"),
        (["properties: {request.timeout.ms: 1}", "propertiesFile: s.properties", "clusterId: ${file:nope}"],
         "m.yaml:8: clusterId: file 'nope' cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_problem_has_its_file_and_line(told: Told, lines: list[str], problem: str) -> None:
    properties = "# brokers\nbootstrap.servers=a:9092\nrequest.timeout.ms=\\\n  soon\n"
    assert told(with_source(*lines), s_properties=properties) == [problem]


def test_a_malformed_escape_in_the_file_has_its_line(told: Told) -> None:
    assert told(with_source("propertiesFile: s.properties"), s_properties="bootstrap.servers=a:1\nx=\\u12\n") == [
        r"s.properties:2: a \u needs four hexadecimal digits that form a character"
    ]


def test_one_file_for_both_sides_tells_its_problems_once(told: Told) -> None:
    text = with_source("propertiesFile: s.properties").replace(
        'properties: {bootstrap.servers: "b:9092"}', "propertiesFile: s.properties"
    )
    assert len(told(text, s_properties="bootstrap.servers=a")) == 1


def test_what_applications_will_use_may_be_any_key(load: Load, told: Told) -> None:
    text = with_source("properties: {bootstrap.servers: 'a:1'}") + "    clientProperties:\n"
    found = load(text + "      security.protocol: SSL\n      ssl.key.password: ${env:PW}\n", environ={"PW": "x7y"})
    assert dict(found.client_properties) == {"security.protocol": "SSL", "ssl.key.password": "x7y"}
    assert "x7y" not in repr(found)
    assert told(text + "      bootstrap.servers: a\n      client.id: ${env:NOPE}\n") == [
        "m.yaml:10: bootstrap.servers: 'a' is not host:port (an IPv6 address stands in brackets: [::1]:9092)",
        "m.yaml:11: client.id: environment variable 'NOPE' is not set",
    ]
