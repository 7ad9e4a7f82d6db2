"""What a migration tells others: metrics for Prometheus, the report of all that was done, and the tables of the docs.

Rule: everything is made from values and tables that the code goes by; nothing here asks a cluster.
"""
