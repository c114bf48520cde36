"""The slopes of a rule: where its gate is open, and what they are over the values that meet it."""
