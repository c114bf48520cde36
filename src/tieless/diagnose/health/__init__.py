"""The checkup of a model: what is measured in a pass, what that means, and what to do about it."""
