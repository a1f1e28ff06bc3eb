"""Exporting a production relay's tables and logs as a history that the judge can read.

    relays' logs ──▶ logs.py ──▶ connections.py ──┐
    Postgres ──────▶ tables.py ───────────────────┴──▶ write.py ──▶ history (JSONL)

It reads the tables by SQL and the logs by their words, and shares no code with the relay that wrote them.
"""
