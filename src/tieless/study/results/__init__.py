"""Results of a study: the store, tables that are written and read, and the plan that follows from results."""
