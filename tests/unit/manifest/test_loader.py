"""A manifest is loaded whole, or all its problems are told in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.errors import ManifestError
from kmigrate.manifest import (
    ApplicationSection,
    CutoverSection,
    Ending,
    FenceChoice,
    History,
    Limits,
    Offsets,
    OffsetsClass,
    Scheme,
    Selection,
    Wave,
    load_manifest,
)
from tests.unit.manifest.conftest import HEAD, Load, Told

FULL = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: Orders_1.eu-x}
spec:
  source:
    clusterId: 5L6g3nShT-eMCtK--X86sw
    properties: {bootstrap.servers: "a:9092"}
    addressMap: {}
  target:
    properties: {bootstrap.servers: "t:9095"}
    clientProperties: {bootstrap.servers: "t:9095"}
  topics: {include: [orders, "pay\\\\..*"], exclude: [pay.x]}
  groups: {include: [".*"], exclude: ["console-consumer-.*"]}
  scheme: consumers-first
  start: earliest
  offsets: {class: auto, topics: {orders: identical}, padBudget: 1, padBudgetTotal: 2, gapBudget: 3}
  replicationFactor: 3
  waves:
    - {name: team, topics: [orders], groups: ["orders-.*"], scheme: producers-first, history: rolling, wayBack: false}
    - {name: rest, topics: ["pay\\\\..*"]}
  ending: overlap
  fence: acl
  applications: [{name: billing, groups: [orders-billing], reads: [orders], writes: ["pay\\\\.bills"]}]
  cutover:
    {freezeSeconds: 60, stillSeconds: 5, approvalSeconds: 90, autoHoldSeconds: 3, tailOffsets: 7,
     everyoneWithoutRules: true}
  limits: {bytesPerSecond: 50000000}
  workers: 64
  lanes: 16
"""


def test_everything_written_is_in_the_manifest(load: Load, tmp_path: Path) -> None:
    found = load(FULL)
    assert found.name == "Orders_1.eu-x"
    assert found.path == tmp_path / "m.yaml"
    assert found.source.cluster_id == "5L6g3nShT-eMCtK--X86sw"
    assert found.source.bootstrap == (("a", 9092),)
    assert found.target.bootstrap == (("t", 9095),)
    assert found.target.cluster_id is None
    assert dict(found.client_properties) == {"bootstrap.servers": "t:9095"}
    assert found.topics == Selection(include=("orders", r"pay\..*"), exclude=("pay.x",))
    assert found.groups == Selection(exclude=("console-consumer-.*",))
    assert found.scheme is Scheme.CONSUMERS_FIRST
    assert found.offsets == Offsets(
        topics={"orders": OffsetsClass.IDENTICAL}, pad_budget=1, pad_budget_total=2, gap_budget=3
    )
    assert found.replication_factor == 3
    assert found.waves == (
        Wave(
            name="team",
            topics=("orders",),
            groups=("orders-.*",),
            scheme=Scheme.PRODUCERS_FIRST,
            history=History.ROLLING,
            way_back=False,
        ),
        Wave(name="rest", topics=(r"pay\..*",)),
    )
    assert (found.history, found.ending, found.fence, found.way_back) == (None, Ending.OVERLAP, FenceChoice.ACL, None)
    assert found.applications == (
        ApplicationSection(name="billing", groups=("orders-billing",), reads=("orders",), writes=(r"pay\.bills",)),
    )
    assert found.cutover == CutoverSection(
        freeze_seconds=60,
        still_seconds=5,
        approval_seconds=90,
        auto_hold_seconds=3,
        tail_offsets=7,
        everyone_without_rules=True,
    )
    assert found.limits == Limits(bytes_per_second=50_000_000)
    assert (found.workers, found.lanes) == (64, 16)


def test_defaults_move_everything_once(load: Load) -> None:
    found = load(HEAD)
    assert found.topics == Selection(include=(".*",), exclude=())
    assert (found.scheme, found.start, found.replication_factor) == (None, "earliest", "source")
    assert found.offsets == Offsets(
        offsets_class=OffsetsClass.AUTO,
        pad_budget=2_000_000_000,
        pad_budget_total=10_000_000_000,
        gap_budget=1_000_000,
    )
    assert (found.history, found.ending, found.fence, found.way_back, found.applications) == (*[None] * 4, ())
    assert found.cutover == CutoverSection(
        freeze_seconds=600, still_seconds=330, approval_seconds=900, auto_hold_seconds=30, tail_offsets=10_000
    )
    assert (found.limits.bytes_per_second, found.waves, found.workers, found.lanes) == (None, (), None, None)


@pytest.mark.parametrize(("written", "expected"), [("source", "source"), ("fit", "fit"), ("1", 1)])
def test_a_replication_factor_is_a_word_or_a_number(load: Load, written: str, expected: object) -> None:
    assert load(f"{HEAD}  replicationFactor: {written}\n").replication_factor == expected


def test_no_limit_may_be_said(load: Load) -> None:
    assert load(f"{HEAD}  limits: {{bytesPerSecond: null}}\n").limits.bytes_per_second is None


def test_all_problems_of_all_files_are_told_in_order(told: Told) -> None:
    text = """\
apiVersion: kmigrate/v3
kind: Migration
metadata: {name: a/b}
spec:
  source:
    propertiesFile: s.properties
    propertiesFlie: x
  target:
    properties:
      ssl.key.password: ${env:NOPE}
  topics:
    include: ["a("]
  start: lately
  offsets: {class: scattered}
  workers: 0
  workers: 2
"""
    no_brokers = "(name the brokers in propertiesFile or properties)"
    properties = "security.protocol=TLS\nbootstrap.servers=a:x\nrequest.timeout.ms=-1\n"
    assert told(text, s_properties=properties) == [
        "m.yaml:1: apiVersion must be kmigrate/v1, not 'kmigrate/v3'",
        "m.yaml:3: metadata.name must be 1 to 100 letters, digits, '.', '_' or '-'",
        "m.yaml:7: unknown key spec.source.propertiesFlie (did you mean propertiesFile?)",
        f"m.yaml:8: spec.target has no bootstrap.servers {no_brokers}",
        "m.yaml:10: ssl.key.password: environment variable 'NOPE' is not set",
        "m.yaml:12: spec.topics.include[0] 'a(' is not a regular expression: "
        "missing ), unterminated subpattern at position 1",
        "m.yaml:13: spec.start must be earliest, latest or a time like 2024-05-01T00:00:00Z",
        "m.yaml:14: spec.offsets.class must be 'auto', 'identical', 'shifted' or 'mapped', not 'scattered'",
        "m.yaml:15: spec.workers must be auto or a whole number from 1 to 64",
        "m.yaml:16: key 'workers' is given twice; first in line 15",
        "s.properties:1: security.protocol must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
        "s.properties:2: bootstrap.servers: 'a:x' is not host:port (an IPv6 address stands in brackets: [::1]:9092)",
        "s.properties:3: request.timeout.ms must be a whole number from 1 to 2147483647, not '-1'",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.yaml: is empty: it says nothing"),
        ("null\n", "m.yaml:1: is empty: it says nothing"),
        ("a: [\n", "m.yaml:2: is not readable as YAML: expected the node content, but found '<stream end>'"),
        (f"{HEAD}  topics: {{include: []}}\n", "m.yaml:7: spec.topics.include selects no topic"),
    ],
)
def test_a_file_that_says_nothing_sensible_is_told(told: Told, text: str, problem: str) -> None:
    assert told(text) == [problem]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "nope.yaml")
    assert str(caught.value) == f"{tmp_path / 'nope.yaml'}: cannot be read: No such file or directory"
    with pytest.raises(ManifestError, match="Is a directory"):
        load_manifest(str(tmp_path))


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ManifestError, match=r"m\.yaml:2: is not UTF-8 text"):
        load_manifest(path)


def test_a_byte_order_mark_does_no_harm(load: Load) -> None:
    assert load("\ufeff" + HEAD).name == "orders"


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMIGRATE_TEST_BROKER", "e:9092")
    path = tmp_path / "m.yaml"
    path.write_text(HEAD.replace("a:9092", "${env:KMIGRATE_TEST_BROKER}"))
    assert load_manifest(path).source.bootstrap == (("e", 9092),)


def test_no_secret_is_printed_with_the_manifest_or_its_problems(load: Load, told: Told) -> None:
    secret = 'a.password: hunter2, x: "${env:X}", '
    text = HEAD.replace("properties: {", "properties: {" + secret)
    assert "hunter" not in repr(load(text, environ={"X": "hunter3"}))
    wrong = text + "  workers: 0\n  topcs: {}\n"
    assert "hunter" not in "".join(told(wrong, environ={"X": "hunter3"}))
