"""The manifest room owns what the operator wants: one YAML file and the Java client properties it names.

`load_manifest` is the way in, `Manifest` what comes out; every problem on the way is told with its file and
line.
"""

from kmigrate.manifest.client_file import load_client_file
from kmigrate.manifest.loader import load_manifest, read_manifest, read_passwords
from kmigrate.manifest.model import (
    LEASE_PREFIX,
    ApplicationSection,
    CutoverSection,
    Ending,
    FenceChoice,
    History,
    Limits,
    Manifest,
    ManifestDocument,
    Offsets,
    OffsetsClass,
    ReplicationFactor,
    Scheme,
    Selection,
    UserSection,
    Wave,
)
from kmigrate.manifest.properties import ParsedProperties, PropertyValue, parse_properties
from kmigrate.manifest.schema import manifest_schema
from kmigrate.manifest.settings import ClientProperties, ClusterSettings, HostPort
from kmigrate.manifest.waves import EVERYTHING, WaveWish, wishes_of

__all__ = [
    "EVERYTHING",
    "LEASE_PREFIX",
    "ApplicationSection",
    "ClientProperties",
    "ClusterSettings",
    "CutoverSection",
    "Ending",
    "FenceChoice",
    "History",
    "HostPort",
    "Limits",
    "Manifest",
    "ManifestDocument",
    "Offsets",
    "OffsetsClass",
    "ParsedProperties",
    "PropertyValue",
    "ReplicationFactor",
    "Scheme",
    "Selection",
    "UserSection",
    "Wave",
    "WaveWish",
    "load_client_file",
    "load_manifest",
    "manifest_schema",
    "parse_properties",
    "read_manifest",
    "read_passwords",
    "wishes_of",
]
