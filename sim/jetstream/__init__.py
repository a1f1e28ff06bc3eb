"""A simulated NATS server with JetStream (one replica): codec, pure models, and a thin host."""
