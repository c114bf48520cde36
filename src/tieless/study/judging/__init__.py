"""The verdicts on claims: pairs of runs, intervals, tests, and the seeds that are still needed."""
