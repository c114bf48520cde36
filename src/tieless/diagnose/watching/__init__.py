"""Observed passes of a model, which leave the model as it was."""
