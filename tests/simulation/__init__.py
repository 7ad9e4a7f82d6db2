"""Clusters that exist only in memory: partition logs that behave as brokers do, and a network between them."""
