"""What does not fit the model is told in plain words, at the line of the offending key."""

from __future__ import annotations

import pytest

from tests.unit.manifest.conftest import HEAD, Told


@pytest.mark.parametrize(
    ("appended", "problem"),
    [
        ("limits: {bytesPerSecond: 0}", "spec.limits.bytesPerSecond must be at least 1, not 0"),
        ("limits: {targetFreePercent: 101}", "spec.limits.targetFreePercent must be at most 100, not 101"),
        ("limits: {targetFreePercent: '2'}", "spec.limits.targetFreePercent must be a whole number, not '2'"),
        ("limits: {targetFreePercent: 1.5}", "spec.limits.targetFreePercent must be a whole number, not 1.5"),
        ("limits: {targetFreePercent: .nan}", "spec.limits.targetFreePercent must be a whole number, not nan"),
        ("limits: {targetFreePercent: true}", "spec.limits.targetFreePercent must be a whole number, not true"),
        ("limits: {targetFreePercent: [1]}", "spec.limits.targetFreePercent must be a whole number, not a list"),
        ("limits: {targetFreePercent: {}}", "spec.limits.targetFreePercent must be a whole number, not a mapping"),
        ("workers: 0", "spec.workers must be auto or a whole number from 1 to 64"),
        ("workers: '2'", "spec.workers must be auto or a whole number from 1 to 64"),
        ("workers: true", "spec.workers must be auto or a whole number from 1 to 64"),
        ("workers:", "spec.workers is empty (give it a value or remove the key)"),
        ("lanes: {}", "spec.lanes must be auto or a whole number from 1 to 16"),
        ("lanes: 17", "spec.lanes must be auto or a whole number from 1 to 16"),
        ("worker: 1", "unknown key spec.worker (did you mean workers?)"),
        (
            "limits: {bytes_per_second: 1}",
            "unknown key spec.limits.bytes_per_second (did you mean bytesPerSecond?)",
        ),
        (
            "limits: {zzz: 1}",
            "unknown key spec.limits.zzz (known here: bytesPerSecond, brokerBytesPerSecond, "
            "topicBytesPerSecond, produceLatencyMs, targetFreePercent)",
        ),
        ("limits: {bytesPerSecond: fast}", "spec.limits.bytesPerSecond must be a whole number, not 'fast'"),
        ("limits:", "spec.limits is empty (give it a value or remove the key)"),
        ("limits: [1]", "spec.limits must be a mapping of keys to values"),
        ("topics: {include: orders}", "spec.topics.include must be a list"),
        ("topics: {include: }", "spec.topics.include is empty (give it a value or remove the key)"),
        ("topics: {include: [no]}", "spec.topics.include[0] must be text (put it in quotes)"),
        ("topics: {exclude: [x, 7]}", "spec.topics.exclude[1] must be text (put it in quotes)"),
        ("topics: {include: [a, ~]}", "spec.topics.include[1] is empty (give it a value or remove the key)"),
        (
            "topics: {include: ['a(']}",
            "spec.topics.include[0] 'a(' is not a regular expression: missing ), unterminated subpattern at position 1",
        ),
        (
            "groups: {exclude: ['a{9999999999}']}",
            "spec.groups.exclude[0] 'a{9999999999}' is not a regular expression: the repetition number is too large",
        ),
        (
            "offsets: {topics: {'*': auto}}",
            "spec.offsets.topics.* '*' is not a regular expression: nothing to repeat at position 0",
        ),
        (
            "offsets: {topics: {pay: same}}",
            "spec.offsets.topics.pay must be 'auto', 'identical', 'shifted' or 'mapped', not 'same'",
        ),
        ("offsets: {topics: [pay]}", "spec.offsets.topics must be a mapping of keys to values"),
        ("offsets: {padBudget: -1}", "spec.offsets.padBudget must be at least 0, not -1"),
        (
            "offsets: {class: same}",
            "spec.offsets.class must be 'auto', 'identical', 'shifted' or 'mapped', not 'same'",
        ),
        (
            "replicationFactor: 0",
            "spec.replicationFactor must be source, fit or a whole number from 1 to 32767",
        ),
        (
            "replicationFactor: same",
            "spec.replicationFactor must be source, fit or a whole number from 1 to 32767",
        ),
        (
            "replicationFactor: true",
            "spec.replicationFactor must be source, fit or a whole number from 1 to 32767",
        ),
        (
            "scheme: big-bang",
            "spec.scheme must be 'producers-first', 'producers-later' or 'consumers-first', not 'big-bang'",
        ),
        ("start: yesterday", "spec.start must be earliest, latest or a time like 2024-05-01T00:00:00Z"),
        ("start: 2024-05-01", "spec.start must be earliest, latest or a time like 2024-05-01T00:00:00Z"),
        ("waves: [{name: a, topcs: []}]", "unknown key spec.waves[0].topcs (did you mean topics?)"),
        ("waves: [{topics: []}]", "spec.waves[0].name is missing"),
        ("waves: [{name: a/b}]", "spec.waves[0].name must be 1 to 100 letters, digits, '.', '_' or '-'"),
    ],
)
def test_a_wrong_value_is_told(told: Told, appended: str, problem: str) -> None:
    assert told(f"{HEAD}\n  {appended}\n") == [f"m.yaml:8: {problem}"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("kmigrate/v1", "kmigrate/v2", "m.yaml:1: apiVersion must be kmigrate/v1, not 'kmigrate/v2'"),
        ("kmigrate/v1", "", "m.yaml:1: apiVersion must be kmigrate/v1, it is empty"),
        ("Migration", "Topic", "m.yaml:2: kind must be Migration, not 'Topic'"),
        ("apiVersion: kmigrate/v1\n", "", "m.yaml:1: apiVersion is missing (write apiVersion: kmigrate/v1)"),
        ("kind: Migration\n", "", "m.yaml:1: kind is missing (write kind: Migration)"),
        ("{name: orders}", "{}", "m.yaml:3: metadata.name is missing"),
        ("{name: orders}", "{nme: orders}", "m.yaml:3: metadata.name is missing"),
        ("orders", "a b", "m.yaml:3: metadata.name must be 1 to 100 letters, digits, '.', '_' or '-'"),
        ("orders", "a" * 101, "m.yaml:3: metadata.name must be 1 to 100 letters, digits, '.', '_' or '-'"),
        ("orders", '"a\\n"', "m.yaml:3: metadata.name must be 1 to 100 letters, digits, '.', '_' or '-'"),
        ("orders", "..", "m.yaml:3: metadata.name must not be '.' or '..'"),
        ("orders", "2024", "m.yaml:3: metadata.name must be text (put it in quotes)"),
        ("metadata:", "metadta:", "m.yaml:1: metadata is missing"),
        ("  source:", "  sorce:", "m.yaml:4: spec.source is missing"),
        ("properties: {bootstrap.servers: \"a:9092\"}",
         "clusterId: 5, properties: {bootstrap.servers: 'a:1'}",
         "m.yaml:5: spec.source.clusterId must be text (put it in quotes)"),
        ("source: {", "source: {clientProperties: {}, ",
         "m.yaml:5: unknown key spec.source.clientProperties (did you mean properties?)"),
        ("source: {", "source: {clusterId: '', ", "m.yaml:5: spec.source.clusterId must not be empty"),
        ("source: {properties: {", "source: {properties: {client.id: [hunter2], ",
         "m.yaml:5: spec.source.properties.client.id must be text"),
        ("source: {properties: {", "source: {properties: {client.id: , ",
         "m.yaml:5: spec.source.properties.client.id is empty (give it a value or remove the key)"),
        ("source: {properties: {bootstrap.servers: \"a:9092\"}}", "source: here",
         "m.yaml:5: spec.source must be a mapping of keys to values"),
    ],
)  # fmt: skip
def test_a_wrong_head_is_told(told: Told, old: str, new: str, problem: str) -> None:
    assert problem in told(HEAD.replace(old, new, 1))


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "5\n"])
def test_a_file_that_is_no_mapping_is_told(told: Told, text: str) -> None:
    assert told(text) == ["m.yaml:1: must be a mapping with apiVersion, kind, metadata and spec"]
