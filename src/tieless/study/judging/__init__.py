"""Verdicts on claims: pairs of runs, intervals, tests, and the number of seeds that are still needed."""
