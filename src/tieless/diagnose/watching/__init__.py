"""Passes of a model that are watched, after which it is as it was."""
