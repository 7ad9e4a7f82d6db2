"""A Java client.properties by itself, as an application has it: read as a manifest's cluster is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from kmigrate.errors import ManifestError, Problem
from kmigrate.manifest.clusters import ClusterReader
from kmigrate.manifest.settings import ClusterSettings
from kmigrate.manifest.yaml_tree import parse_tree


def load_client_file(path: Path, environ: Mapping[str, str] | None = None) -> ClusterSettings:
    """The cluster that a client.properties leads to; raises ManifestError with every problem and its line."""
    section = json.dumps({"spec": {"source": {"propertiesFile": path.name}}})
    reader = ClusterReader(
        parse_tree(section, file=str(path)), folder=path.parent, environ=os.environ if environ is None else environ
    )
    settings = reader.settings_of("source")
    if reader.problems or settings is None:
        nothing = Problem(file=str(path), line=None, message="has no bootstrap.servers")
        raise ManifestError(reader.problems or [nothing])
    return settings
