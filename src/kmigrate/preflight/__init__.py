"""The preflight room finds out, before the first write, what would make the copy fail or be wrong; it reads only.

`guards` refuses wrong clusters, `reach` connects to every advertised broker, `foreign` looks for records that are
not ours, `check` puts it together; the answer is a list of findings, all of them at once.
"""

from kmigrate.preflight.check import Seen, check, check_existing
from kmigrate.preflight.findings import Finding, refuse_blockers
from kmigrate.preflight.guards import guard_cluster, guard_clusters
from kmigrate.preflight.registry import FindingId, Level

__all__ = [
    "Finding",
    "FindingId",
    "Level",
    "Seen",
    "check",
    "check_existing",
    "guard_cluster",
    "guard_clusters",
    "refuse_blockers",
]
