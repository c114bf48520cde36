"""A model's gradient beside others: the one by calculus, and the one of the smoothed loss."""
