"""The only opener of sockets to Kafka: connections, metadata, leaders, retry, and the reader.

`network` is the seam a pipeline waits behind (and the only thing a simulation replaces); `connection` is the one class
that opens a socket; `client` finds the right broker for a `Call` and retries what may be retried.
"""
