"""Explanation of a model's activations: their rules, their memory for the backward pass, and their gates."""
