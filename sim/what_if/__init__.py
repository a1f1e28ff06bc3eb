"""What if: the ADR's window with other settings and outages, in variants side by side.

Pure: durations, settings, outages, variants, contradictions, plans, figures, table. Drivers: `playing` (processes) and
`cli` (the command).
"""
