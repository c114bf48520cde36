"""Operation ``untie``: a pair of a forward and a backward rule (surrogate gradient), applied to a tensor."""

from tieless._imports import renamed
from tieless.functional.operation import untie, untie_pair
from tieless.functional.pair import Pair, Part, pair_of

__all__ = ["Pair", "Part", "pair_of", "untie", "untie_pair"]

__getattr__ = renamed(__name__, Joined="Pair", join="pair_of", untie_joined="untie_pair")
