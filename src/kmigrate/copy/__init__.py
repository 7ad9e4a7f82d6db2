"""The data plane: from bytes fetched on the source to batches appended on the target.

`judge`, `copier`, `standing` and `assign` decide and are pure; `pipeline` takes turns behind the network seam;
`inquiry` collects standings; `worker` and `engine` are the two ends of a worker process; `orders` and `progress` are
what travels between them.
"""
