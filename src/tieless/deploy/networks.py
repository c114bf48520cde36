"""Packed networks as arguments."""

from __future__ import annotations

from tieless_runtime import Network

from tieless.errors import DeployError


def checked(network: Network, function: str) -> Network:
    """The network itself.

    Raises:
        DeployError: it is something else.
    """
    if not isinstance(network, Network):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeployError(
            f"{function} takes a tieless_runtime.Network, which read(FILE) returns and packed.network is; "
            f"got {type(network).__name__}."
        )
    return network
