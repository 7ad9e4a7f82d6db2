"""Whether both clusters hold the same: walked in step, compared as bytes where they can be, else record by record.

Nothing here reads a cluster: pieces of both logs come in as iterators, verdicts go out as values.  (pure)
"""
