"""The API as OpenAPI: what serve answers, and under each migration's name what its owner answers.

`python -m kmigrate.api.openapi docs/openapi.json` (`make docs`) writes it; a test says when that was forgotten. The
owner's own socket answers the same paths without `/migrations/{name}`.

Source: https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI

OWNERS = "/v1/"
UNDER = "/v1/migrations/{name}/"
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "title": "Name"}}


def join(service: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    """Serve's document with every path of an owner's under the migration's name; neither is changed.

    Raises ValueError if one path, or one schema, would stand for two things.
    """
    joined = deepcopy(service)
    for path, operations in owner["paths"].items():
        under = UNDER + path.removeprefix(OWNERS)
        if path == f"{OWNERS}health":
            continue
        if under in joined["paths"]:
            raise ValueError(f"{under} is serve's own")
        joined["paths"][under] = {method: _under(each) for method, each in deepcopy(operations).items()}
    schemas = joined.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in owner.get("components", {}).get("schemas", {}).items():
        if schemas.setdefault(name, schema) != schema:
            raise ValueError(f"there are two schemas named {name}")
    return joined


def publish(service: FastAPI, make_owner: Callable[[], FastAPI]) -> None:
    """Has serve's application publish both, at /openapi.json; made when it is first asked for."""
    make = service.openapi
    service.openapi = cache(lambda: join(make(), make_owner().openapi()))  # type: ignore[method-assign]


def whole_document() -> dict[str, Any]:
    """Everything that serve publishes."""
    from kmigrate.api.service import create_service
    from kmigrate.serve.roster import Roster
    from kmigrate.serve.supervisor import Supervisor

    return create_service(Supervisor(Roster(Path("nowhere"))), None).openapi()


def to_text(document: dict[str, Any]) -> str:
    """As the committed file has it."""
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _under(operation: dict[str, Any]) -> dict[str, Any]:
    operation["operationId"] = f"migration_{operation['operationId']}"
    operation["parameters"] = [_NAME, *operation.get("parameters", [])]
    return operation


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(to_text(whole_document()), encoding="utf-8")
