"""The workload on the real stack: publishers and agents that follow a plan and write down all that they see."""

from __future__ import annotations

from faults.mesh.agents import MeshAgent
from faults.mesh.births import Births
from faults.mesh.mesh import Addresses, Mesh

__all__ = ["Addresses", "Births", "Mesh", "MeshAgent"]
