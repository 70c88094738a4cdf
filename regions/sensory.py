"""Sensory cortex."""

from typing import Any

from nfsim.population import Population


class Sensory(Population):
    """A sensory area, the first to hear the world.

    Parameters
    ----------
    size : int, nodes; 49 is a 7 x 7 map.
    name : str.
    options : every other field of `Population`.
    """

    def __init__(self, size: int = 49, name: str = "sensory", **options: Any):
        super().__init__(name, size, **options)
