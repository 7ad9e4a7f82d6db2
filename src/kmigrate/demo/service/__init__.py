"""A service that switches over when told, the operator who tells it, and the judge of what became of its records."""
