"""A whole service moves from one cluster to the other, led by an operator who types what the README says."""
