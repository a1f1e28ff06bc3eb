"""A simulated NATS server with JetStream, alone or as three: codec, pure models, and a thin host."""
