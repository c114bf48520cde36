"""Slopes (multipliers) of a rule: the region where its gate is open, and their values over the data that meets it."""
