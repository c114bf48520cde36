"""Comparison of a model's gradient with others: the one by calculus, and the one of the smoothed loss."""
