"""A move between two secured clusters, as an operator types it, with exactly the rights that docs/rights.md lists."""
