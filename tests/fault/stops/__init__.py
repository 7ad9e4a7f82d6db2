"""Every stop of a partition, provoked on real clusters: the right name, the right offset, and nothing written after it.

`telling` reads what the commands say, `topics` changes topics as somebody else would, `content` compares what lies on
both clusters, `tampering` harms record batches on their way.
"""
