"""Everything a partition can hold, put onto a real source, and the judge of its copies.

One function for each content writes a topic that holds it and returns a `Content`; `judging` compares what two
clusters show of a topic.
"""
