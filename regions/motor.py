"""Motor cortex."""

from typing import Any

from nfsim.population import Population


class Motor(Population):
    """Motor cortex in equal-area sectors, one per response.

    Parameters
    ----------
    size : int, nodes, a multiple of sectors.
    sectors : int.
    name : str.
    options : every other field of `Population`.
    """

    def __init__(self, size: int = 100, sectors: int = 10, name: str = "motor", **options: Any):
        super().__init__(name, size, sectors=sectors, **options)
