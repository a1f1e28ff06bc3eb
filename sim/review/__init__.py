"""Experiments in the simulated world whose results go into the reliability report."""
