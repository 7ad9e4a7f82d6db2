"""Clusters whose listeners want TLS, passwords, tokens or certificates, and the authorities that hand those out."""
