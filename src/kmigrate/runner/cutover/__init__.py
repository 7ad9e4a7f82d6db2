"""The shell of cutovers: which waves there are, what is seen of them, and what is done.

`waves` makes them of the manifest and of what the clusters hold.
"""
