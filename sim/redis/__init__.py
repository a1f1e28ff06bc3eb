"""The simulated Redis: RESP2 and RESP3, a keyspace without I/O, its append-only file, and a thin server around them."""
