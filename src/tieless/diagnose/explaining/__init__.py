"""What a model's activations are: their rules, what each keeps for the backward pass, where each lets feedback through."""
