"""Data sets as tensors: generated, bundled or published, loaded by spec."""

from tieless.data.dataset import Dataset
from tieless.data.loading import datasets, get, is_available, load, locate

__all__ = ["Dataset", "datasets", "get", "is_available", "load", "locate"]
