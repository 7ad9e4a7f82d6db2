"""The JSON Schema names the keys as the manifest spells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kmigrate.manifest import manifest_schema
from kmigrate.manifest.schema import schema_text


def definition(name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifest_schema()["$defs"][name]
    return found


def test_the_schema_is_json_and_says_its_dialect() -> None:
    schema = json.loads(json.dumps(manifest_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "kmigrate manifest"
    assert schema["required"] == ["apiVersion", "kind", "metadata", "spec"]


def test_keys_are_spelled_as_in_the_manifest_and_no_others_are_allowed() -> None:
    assert set(definition("Spec")["properties"]) == {
        "source", "target", "topics", "groups", "scheme", "history", "ending", "fence", "wayBack", "applications",
        "cutover", "start", "offsets", "replicationFactor", "principals", "users", "waves", "pairs", "limits", "sizes",
        "workers", "lanes",
    }  # fmt: skip
    assert set(definition("Offsets")["properties"]) == {
        "class", "topics", "padBudget", "padBudgetTotal", "gapBudget",
    }  # fmt: skip
    assert set(definition("Wave")["properties"]) == {
        "name", "topics", "groups", "scheme", "history", "ending", "fence", "wayBack",
    }  # fmt: skip
    assert set(definition("CutoverSection")["properties"]) == {
        "freezeSeconds", "stillSeconds", "approvalSeconds", "autoHoldSeconds", "tailOffsets",
        "everyoneWithoutRules",
    }  # fmt: skip
    assert definition("FenceChoice")["enum"] == ["none", "acl", "min-isr"]
    assert set(definition("TargetSection")["properties"]) - set(definition("SourceSection")["properties"]) == {
        "clientProperties"
    }
    assert all(section.get("additionalProperties", False) is False for section in manifest_schema()["$defs"].values())


def test_limits_and_words_are_in_the_schema() -> None:
    spec = definition("Spec")["properties"]
    auto, number = spec["workers"]["anyOf"]
    assert (auto["const"], number["minimum"], number["maximum"]) == ("auto", 1, 64)
    assert spec["replicationFactor"]["anyOf"][0]["enum"] == ["source", "fit"]
    assert definition("Metadata")["properties"]["name"]["pattern"] == "^[a-zA-Z0-9._-]{1,100}$"
    assert "number" in definition("SourceSection")["properties"]["properties"]["additionalProperties"]["type"]


def test_the_published_schema_is_that_of_the_model() -> None:
    published = Path(__file__).parents[3] / "docs" / "manifest.schema.json"
    assert published.read_text(encoding="utf-8") == schema_text(), "`make docs` writes it"
