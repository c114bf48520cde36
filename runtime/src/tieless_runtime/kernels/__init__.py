"""Loops compiled by Numba. Nothing here is imported before a network runs."""
