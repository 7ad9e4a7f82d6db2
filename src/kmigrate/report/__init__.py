"""What a migration tells others: metrics for Prometheus, and the tables of the docs.

Rule: everything is made from values and tables that the code goes by; nothing here asks a cluster.
"""
