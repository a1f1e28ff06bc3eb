"""Renderings of a report: HTML, Markdown, JSON and JUnit XML; each shows nothing that is not in the report."""
