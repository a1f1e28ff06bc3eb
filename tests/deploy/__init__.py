"""The compose stack, its images, alerts and dashboard, and the CI workflow: checked without an engine."""
