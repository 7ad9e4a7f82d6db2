"""The JSON Schema of the manifest is for editors: it completes keys and marks what cannot be.

Rule: it is drawn from the model, never written by hand. `load_manifest` stays the judge: what needs more
than one file or knows what this version supports is not in the schema.
"""

from __future__ import annotations

import json
from typing import Any

from kmigrate.manifest.model import ManifestDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """The schema as a value that `json.dumps` takes."""
    schema = ManifestDocument.model_json_schema(by_alias=True)
    return {"$schema": DIALECT, **schema, "title": "kmigrate manifest"}


def schema_text() -> str:
    """As the published file has it."""
    return json.dumps(manifest_schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
