"""Measurements: trials of the studies begun again, step for step the same, and looked into on the way."""
