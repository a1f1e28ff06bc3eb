"""The mesh's cursor files: they survive the death of an agent, not that of the machine."""

from __future__ import annotations

import asyncio

from system.client import FileCursorStore


class ProcessDurableStore(FileCursorStore):
    """The production store's file, replaced atomically, without its two fsyncs.

    A run crashes agents, never the machine: the kernel keeps what was written. With fsyncs, all agents of the mesh in
    one process, on a disk that the servers flush to as well, the run would measure the disk (10 ms and more a save).
    """

    async def save(self, cursor: str) -> None:
        """Replace the file's cursor, and let the other agents of this process have their turn."""
        self._beside.write_text(f"{cursor}\n", encoding="ascii")
        self._beside.replace(self.path)
        await asyncio.sleep(0)
