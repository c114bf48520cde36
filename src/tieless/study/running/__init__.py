"""Running of a study: worker processes, and the training of one trial."""
