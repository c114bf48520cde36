"""Checkup of a model: measurements in a pass, their meaning, and rules that cure what is wrong."""
