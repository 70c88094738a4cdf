"""The model that a network compiles to: what it is called with, what it returns, and what it tells about itself."""

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nfsim.compiler.program import Program
from nfsim.models.parameters import group
from nfsim.models.values import Values
from nfsim.network import Network
from nfsim.values import is_number

RECORDABLE = (
    "z",
    "gain",
    "steady",
    "drive",
    "logits",
    "nucleus_gain",
    "energy_accuracy",
    "energy_complexity",
)


class Output(NamedTuple):
    """What a model returns."""

    logits: Tensor
    """[batch, label], or [batch, time, label] for a readout of each step."""
    state: dict[str, Tensor]
    """xr and xi [batch, node] after each sample's last step: pass it on to continue.

    Populations with gated memory add cr and ci [batch, node] (0 for others), and a coupling with Hebbian memory
    "NAME:fast" [batch, edge], its W in the order of `edge_coords`."""
    record: dict[str, Tensor]
    """The variables asked for, [batch, tick, ...]."""


class Call(NamedTuple):
    """A checked call."""

    x: Tensor
    start: Tensor | None
    """[B, 2, N] state to start from; None for the declared one."""
    dt: Tensor | float
    """Duration of an input step: a number, or [B, steps]."""
    lengths: Tensor | None
    record: tuple[str, ...]
    carried: dict[str, Tensor]
    """What the given state holds beside xr and xi; empty without one."""


class AbstractModel(nn.Module):
    """A compiled network.

    Parameters
    ----------
    program : the lowered network.
    dtype : of its parameters.

    `guard` may be switched on at any time: every state is then looked at, and the first that is not finite raises
    `FloatingPointError` with its node and step, at the cost of keeping all states and one pass over them.
    """

    guard: bool = False

    def __init__(self, program: Program, dtype: torch.dtype):
        super().__init__()
        self.program = program
        self.values = Values(program.connectome, dtype)
        flat = program.connectome.network.flat
        (readout,) = flat.readouts.values()
        assert not isinstance(readout.labels, int)  # a readout turns a number into names
        self.labels = tuple(readout.labels)
        self.features = sum(i.features for i in flat.inputs.values())
        self.nucleus_names = tuple(flat.nuclei)
        nodes = sum(p.size for p in flat.populations.values())
        self.fast_edges = {n: program.connectome.matrices[n] for n, p in flat.projections.items() if p.memory != "none"}
        self.carried = {"xr": nodes, "xi": nodes}
        """Name of each tensor of the state -> its entries per sample."""
        if any(p.dynamics.memory == "gated" for p in flat.populations.values()):
            self.carried |= {"cr": nodes, "ci": nodes}
        self.carried |= {self.fast_name(n): int(matrix.nnz) for n, matrix in self.fast_edges.items()}

    @abstractmethod
    def run(self, call: Call) -> Output:
        """The network's answer to a checked call."""

    def forward(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        *,
        dt: float | Tensor | None = None,
        lengths: Tensor | None = None,
        record: Iterable[str] = (),
    ) -> Output:
        """Run the network over a batch of sequences.

        Parameters
        ----------
        x : [batch, time, feature], finite, the dtype of the model.
        state : of an earlier call, to continue from; by default the declared initial state.
        dt : duration of an input step, in the network's time unit: one number, [time] or [batch, time].
        lengths : [batch] whole numbers, valid steps of each sample.
        record : names of variables to keep, of z, gain, steady, drive, logits, nucleus_gain, energy_accuracy and
            energy_complexity; [batch, tick, ...], a tick being one of the updates within an input step.

        Raises
        ------
        ValueError, TypeError : for anything else, with what was given, the rule, and the cure.
        """
        call = self._checked(x, state, dt, lengths, record)
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):  # states need the precision of the parameters
                return self.run(call)
        return self.run(call)

    def step(self, x: Tensor, state: dict[str, Tensor] | None = None, *, dt: float | Tensor | None = None) -> Output:
        """One input step x [batch, feature], from `state`: the streaming form, with the numbers of the sequence."""
        if not isinstance(x, Tensor):
            raise TypeError(f"x is a {type(x).__name__}; give a torch tensor [batch, feature]")
        if x.dim() != 2:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; a step takes [batch, feature], a sequence goes to the model itself"
            )
        if isinstance(dt, Tensor) and dt.dim() == 1:
            dt = dt.unsqueeze(1)
        out = self(x.unsqueeze(1), state, dt=dt)
        return out if out.logits.dim() == 2 else out._replace(logits=out.logits[:, 0])

    @staticmethod
    def fast_name(projection: str) -> str:
        """Name of the fast weights of a projection in the state."""
        return f"{projection}:fast"

    @property
    def network(self) -> Network:
        """The frozen declaration that the model was compiled from."""
        return self.program.connectome.network

    def explain(self) -> str:
        """The program, with the parameters of this model."""
        return self.program.explain(self.values.one().device.type)

    def ledger(self) -> dict[str, int]:
        """Number of learned parameters by group."""
        flat = self.network.flat
        counts = dict.fromkeys(("drive", "node constants", "router", "coupling", "projections", "readout"), 0)
        for name, value in self.values.learned.items():
            counts[group(flat, name)] += value.numel()
        return counts

    def node_coords(self) -> dict[str, np.ndarray]:
        """Coordinates of the node axis.

        region, population, sector, label, position, latitude, longitude, omega (rad/time); each (node,).
        """
        connectome, flat = self.program.connectome, self.network.flat
        nodes, (lat, lon) = connectome.nodes, connectome.lat_lon()
        population = np.repeat(list(flat.populations), [p.size for p in flat.populations.values()])
        omega = np.concatenate([self.values[f"{p}:omega"].detach().cpu().numpy() for p in flat.populations])
        named = any(nodes.labels)
        label = (
            nodes.labels if named else [f"{p}/{i}" for p in flat.populations for i in range(flat.populations[p].size)]
        )
        return {
            "region": np.asarray(nodes.regions),
            "population": population,
            "sector": nodes.sectors,
            "label": np.asarray(label),
            **dict(zip(("pos_x", "pos_y", "pos_z"), nodes.positions.T, strict=True)),
            "lat": lat,
            "lon": lon,
            "omega": omega,
        }

    def edge_coords(self) -> dict[str, np.ndarray]:
        """Edges between nodes, as declared: edge_source, edge_target, edge_weight, edge_length, edge_projection."""
        return self.program.connectome.edges()

    def _checked(self, x: Any, state: Any, dt: Any, lengths: Any, record: Iterable[str]) -> Call:
        if not isinstance(x, Tensor):
            raise TypeError(f"x is a {type(x).__name__}; give a torch tensor [batch, time, feature]")
        if x.dim() != 3 or x.shape[-1] != self.features or 0 in x.shape:
            inputs = ", ".join(f"{path}: {i.features}" for path, i in self.network.flat.inputs.items())
            raise ValueError(
                f"x has shape {tuple(x.shape)}; give [batch, time, {self.features}] ({inputs}), "
                "with at least one sample and step"
            )
        x = checked_values(x, self.values.one())
        record = (record,) if isinstance(record, str) else tuple(record)
        for name in record:
            if name not in RECORDABLE:
                raise ValueError(f"record {name!r} is unknown; choose from {', '.join(RECORDABLE)}")
        given = self._checked_state(state, x)
        start = torch.stack([given.pop("xr"), given.pop("xi")], dim=1) if given else None
        return Call(x, start, self._checked_dt(dt, x), checked_lengths(lengths, x), record, given)

    def _checked_state(self, state: Any, x: Tensor) -> dict[str, Tensor]:
        if state is None:
            return {}
        if (
            not isinstance(state, dict)
            or set(state) != set(self.carried)
            or not all(isinstance(value, Tensor) for value in state.values())
        ):
            names = " and ".join([", ".join([*self.carried][:-1]), [*self.carried][-1]])
            raise ValueError(f"state is not the state of an earlier Output; pass output.state, with its {names}")
        state = {name: value if value.is_complex() else value.to(x) for name, value in state.items()}
        for name, value in state.items():
            n, axis = self.carried[name], "edge" if name.endswith(":fast") else "node"
            if tuple(value.shape) != (x.shape[0], n):
                raise ValueError(
                    f"state {name} has shape {tuple(value.shape)}; give (batch, {axis}) = ({x.shape[0]}, {n})"
                )
            if value.is_complex() or not _finite(value):
                raise ValueError(
                    f"state {name} holds a value that is not finite; start from a state that has not diverged"
                )
        return state

    def _checked_dt(self, dt: Any, x: Tensor) -> Tensor | float:
        if dt is None:
            return float(self.network.dt)
        if isinstance(dt, Tensor) and dt.dim() > 0:
            if tuple(dt.shape) not in {tuple(x.shape[:2]), (x.shape[1],)}:
                raise ValueError(f"dt has shape {tuple(dt.shape)}; give one number, [time] or [batch, time] of x")
            if dt.is_complex() or not bool((torch.isfinite(dt.to(x)) & (dt > 0)).all()):
                raise ValueError("dt holds a value that is not finite and above 0; give the duration of every step")
            return dt.to(x).expand(x.shape[:2])
        value = dt.item() if isinstance(dt, Tensor) else dt
        if not (is_number(value) and value > 0):
            raise ValueError(f"dt {value!r} is not a finite number above 0; give the duration of a step")
        return float(value)


def checked_values(x: Tensor, like: Tensor) -> Tensor:
    """Input [batch, time, feature] in the dtype of a model's parameters `like`, once its values are finite numbers."""
    if like.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"the model is in {like.dtype}; states need float32 or float64: call model.float()")
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}; give {like.dtype}, as x.to({like.dtype})")
    if x.device != like.device:
        raise ValueError(f"x is on {x.device} and the model on {like.device}; move one of them")
    x = x.to(like.dtype)  # before the next look at it: a finite float64 may be infinite in float32
    if not _finite(x):
        where = torch.nonzero(~torch.isfinite(x))[0].tolist()
        raise ValueError(f"x is not finite at [batch, time, feature] = {where}; clean or impute the data")
    return x


def _finite(x: Tensor) -> bool:
    """Whether all values are; taken to be so while a graph is being traced."""
    if torch.compiler.is_compiling():
        return True
    # a sum is not finite when one of its terms is not, and is one pass; it may also overflow, so look again
    return math.isfinite(x.detach().sum().item()) or bool(torch.isfinite(x).all())


def checked_lengths(lengths: Any, x: Tensor) -> Tensor | None:
    """Valid steps of each sample, [batch] int64, once they are whole numbers within the steps of x."""
    if lengths is None:
        return None
    lengths = torch.as_tensor(lengths, device=x.device)
    if lengths.is_floating_point() or lengths.dtype == torch.bool or tuple(lengths.shape) != (x.shape[0],):
        raise ValueError(
            f"lengths {tuple(lengths.shape)} of {lengths.dtype} are not one whole number per sample; give [batch]"
        )
    if not bool(((lengths >= 1) & (lengths <= x.shape[1])).all()):
        raise ValueError(f"lengths lie outside of [1, {x.shape[1]}], the steps of x; correct them or pad x")
    return lengths.long()
