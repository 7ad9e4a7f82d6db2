"""What this version does not honour stands here, and nowhere else.

Rule: a value that would change the copy and is not supported is refused with its line; one that merely is not
acted on yet is accepted and named in a notice.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.errors import Problem
from kmigrate.manifest.model import ManifestDocument
from kmigrate.manifest.yaml_tree import YamlTree

NOT_SUPPORTED = "is not supported by this version"
ONLY_PLAINTEXT = "only PLAINTEXT connections, without sasl.* and ssl.* keys"

NOT_ACTED_ON = ("groups", "scheme", "waves")

_SECURITY_PREFIXES = ("sasl.", "ssl.")
_SECURITY_KEYS = (  # security settings that do not say so at their beginning; the first two are librdkafka's
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "security.providers",
)


def unsupported_values(tree: YamlTree) -> Iterator[Problem]:
    """Values that would change the copy; those that mean nothing at all are left to the document's shape."""
    for side in ("source", "target"):
        if tree.at("spec", side, "addressMap"):
            path = ("spec", side, "addressMap")
            yield tree.problem(
                path, f"spec.{side}.addressMap {NOT_SUPPORTED}", "brokers must be reachable as advertised"
            )


def unsupported_property(key: str, value: str | None) -> str | None:
    """What is not supported about a cluster's property, without its value; None if nothing is.

    `value` is None where it could not be resolved.
    """
    if key == "security.protocol":
        if value is None or value.strip().upper() == "PLAINTEXT":
            return None
        return f"{key} other than PLAINTEXT {NOT_SUPPORTED}"
    if key.startswith(_SECURITY_PREFIXES) or key in _SECURITY_KEYS:
        return f"{key} {NOT_SUPPORTED}"
    return None


def notices_of(document: ManifestDocument) -> tuple[str, ...]:
    """One notice naming the sections that are written but not acted on; empty if there are none."""
    named = [name for name in NOT_ACTED_ON if name in document.spec.model_fields_set]
    return (f"{', '.join(named)}: accepted, not acted on by this version",) if named else ()
