"""Embedded Kafka clusters and the story that is told with them."""
