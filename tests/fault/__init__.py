"""Faults on real clusters, under load: whatever breaks, the copy is exact or it stands still.

`harness` has the migration as a child process and the witness, `load` the producers, `probe` what a leader says of its
true log end, `cells` how a test is repeated.
"""
