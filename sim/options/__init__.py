"""`meshrelay compare`: the ADR's options, run against each other on the same seeds, plans and workload."""
