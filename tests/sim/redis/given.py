"""What servers of scenes are told beside the suite's defaults, by the real one's names."""

from __future__ import annotations

SETTINGS: dict[str, dict[str, str]] = {
    "once_a_second": {"appendfsync": "everysec"},
    "without_a_file": {"appendonly": "no"},
    "an_older_disk": {"appendfsync": "everysec"},
    "while_it_loads": {"key_load_delay": "1000"},
    "with_a_password": {"requirepass": "secret"},
}
LOADS_S = (2.0, 2.0)
"""How long the model's server reads its file where the real one is told to take its time."""
