"""Measurements: trials of the studies run again, step for step the same, and measured on the way."""
