"""How a cluster is spoken to safely, as values: protocol, TLS, credentials, and secrets that do not show themselves."""
