"""The tensors of a model by their declared names."""

import torch
from torch import Tensor, nn

from nfsim.models.parameters import draw
from nfsim.wiring import Connectome


class Values(nn.Module):
    """Every learned parameter and fixed constant of a network, looked up as ``values["v1:rate"]``.

    Parameters
    ----------
    connectome : what the values are drawn for.
    dtype : torch.float32, or torch.float64 for the reference.
    """

    def __init__(self, connectome: Connectome, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.dtype = dtype
        learned, fixed = draw(connectome)
        self.learned = nn.ParameterDict({name: nn.Parameter(value.to(dtype)) for name, value in learned.items()})
        self.fixed = tuple(fixed)
        for name, value in fixed.items():
            self.register_buffer(name, value.to(dtype))

    def __getitem__(self, name: str) -> Tensor:
        value = self.learned[name] if name in self.learned else self._buffers[name]
        assert value is not None  # torch allows a buffer to be empty; none of these is
        return value

    def __contains__(self, name: str) -> bool:
        return name in self.learned or name in self._buffers

    def drawn(self) -> list[Tensor]:
        """Every parameter and fixed value: what a state dict holds."""
        return [*self.learned._parameters.values(), *map(self._buffers.__getitem__, self.fixed)]  # type: ignore[list-item]

    def one(self) -> Tensor:
        """A learned parameter, for the dtype and the device of all."""
        return next(iter(self.learned.values()))

    def keep(self, name: str, value: Tensor) -> str:
        """Hold a tensor that follows from the declaration, such as an index, so that it moves with the model."""
        if name not in self._buffers:
            self.register_buffer(name, value, persistent=False)
        return name
