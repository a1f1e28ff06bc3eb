"""Histories, checkers, verdicts and the reports made of them."""
