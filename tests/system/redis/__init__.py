"""The transport `redis`, on a real redis-server, NATS and Postgres."""
