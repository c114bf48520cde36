"""Settings that a trial names: losses, optimisers, schedules, initial weights, augmentations."""
