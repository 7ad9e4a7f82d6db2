"""kmigrate moves live Kafka services between clusters, with identical offsets."""

__version__ = "0.1.0"
