"""Data sets as tensors: generated, bundled or published, loaded by spec."""

from tieless.data.dataset import Dataset
from tieless.data.loading import datasets, get, is_available, load, locate
from tieless.data.own import register_data

__all__ = ["Dataset", "datasets", "get", "is_available", "load", "locate", "register_data"]
