"""Consumer groups: which take part, where their commits lie on the target, and how they are kept in step.

Rule: a commit on the target is exactly the translation of the source's, never past what is copied, and only of a group
that nobody uses there. Pure: `select`, `place`, `decide`, `values`. Shells: `cluster_groups` (one cluster's
coordinators) and `sync` (a round over all groups).
"""
