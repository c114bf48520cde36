"""A study file: its schema, its grid, overrides, and the studies that ship."""
