"""Prefrontal cortex."""

from typing import Any

from nfsim.population import Population


class PFC(Population):
    """Prefrontal cortex, the association area between the senses and the motor sectors.

    Parameters
    ----------
    size : int, nodes.
    name : str.
    options : every other field of `Population`.
    """

    def __init__(self, size: int = 500, name: str = "pfc", **options: Any):
        super().__init__(name, size, **options)
