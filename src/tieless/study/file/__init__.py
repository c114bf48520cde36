"""Study files: their schema, grid and overrides, and the studies that ship."""
