"""Findings: a paper about tieless, written from committed tables of runs and measurements. ``python -m findings``."""
