"""Kafka's protocol as bytes: the two hot messages by hand, the rest through the codec library.  (pure)

`fetch` and `produce` lay out and read the messages that carry data, without copying it. `call` is the one place that
names the codec library; `calls` and `group_calls` say what is asked of a cluster and what comes back, as values.
"""
