"""A paper about tieless: its pages are written from committed tables of runs and of measurements. ``python -m findings``."""
