"""The simulated NATS server held to the real one, and what it does on three servers."""
