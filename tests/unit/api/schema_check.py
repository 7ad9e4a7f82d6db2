"""Whether a JSON value is what a schema says: the part of JSON Schema 2020-12 that OpenAPI documents are made of here.

Rule: a keyword that is not known fails, so that nothing is passed over.
"""

import re
from typing import Any

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_TOLD = {"title", "description", "default", "format"}


def check(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "$") -> list[str]:
    """Everything that is wrong; each with its place."""
    problems: list[str] = []
    for keyword, said in schema.items():
        match keyword:
            case "$ref":
                target: Any = root
                for step in said.removeprefix("#/").split("/"):
                    target = target[step]
                problems += check(value, target, root, path)
            case "type":
                if not isinstance(value, _TYPES[said]) or (isinstance(value, bool) and said in ("integer", "number")):
                    problems.append(f"{path}: {value!r} is no {said}")
            case "anyOf":
                if all(check(value, each, root, path) for each in said):
                    problems.append(f"{path}: {value!r} is none of {said}")
            case "enum" if value not in said:
                problems.append(f"{path}: {value!r} is none of {said}")
            case "const" if value != said:
                problems.append(f"{path}: {value!r} is not {said!r}")
            case "required" if isinstance(value, dict):
                problems += [f"{path}: {name} is missing" for name in said if name not in value]
            case "properties" if isinstance(value, dict):
                for name in value.keys() & said.keys():
                    problems += check(value[name], said[name], root, f"{path}.{name}")
            case "additionalProperties" if isinstance(value, dict):
                for name in value.keys() - schema.get("properties", {}).keys():
                    if said is False:
                        problems.append(f"{path}: {name} is not known")
                    elif said is not True:
                        problems += check(value[name], said, root, f"{path}.{name}")
            case "propertyNames" if isinstance(value, dict):
                for name in value:
                    problems += check(name, said, root, f"{path}.{name}?")
            case "prefixItems" if isinstance(value, list):
                for number, (each, of) in enumerate(zip(value, said, strict=False)):
                    problems += check(each, of, root, f"{path}[{number}]")
            case "items" if isinstance(value, list):
                for number, each in enumerate(value):
                    problems += check(each, said, root, f"{path}[{number}]")
            case "minItems" if isinstance(value, list) and len(value) < said:
                problems.append(f"{path}: fewer than {said}")
            case "maxItems" if isinstance(value, list) and len(value) > said:
                problems.append(f"{path}: more than {said}")
            case "minimum" if isinstance(value, int | float) and value < said:
                problems.append(f"{path}: below {said}")
            case "maxLength" if isinstance(value, str) and len(value) > said:
                problems.append(f"{path}: longer than {said}")
            case "pattern" if isinstance(value, str) and not re.search(said, value):
                problems.append(f"{path}: does not match {said}")
            case "enum" | "const" | "properties" | "additionalProperties" | "propertyNames" | "items" | "required":
                pass
            case "prefixItems" | "minItems" | "maxItems" | "minimum" | "maxLength" | "pattern":
                pass
            case _ if keyword not in _TOLD:
                raise AssertionError(f"{path}: the keyword {keyword!r} is not checked here")
    return problems
