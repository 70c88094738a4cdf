"""The declared network as a neural ODE: the vector field whose closed form the update of the cell is."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from nfsim.models.calls import answer
from nfsim.models.model import AbstractModel, Output

# B sample, T time step, N node, L label

METHODS = ("dopri5", "rk4", "euler")
STILL = -1e9
"""Bias of a sigmoid rate at which a state does not move: sigmoid(-1e9) is 0."""
INSTANT = 1e-30
"""Duration of a step in which no state moves or turns, in float32."""


class ODE(nn.Module):
    r"""A declared network whose states flow in continuous time, integrated by a solver.

    ``dz/dt = i omega z + a (s(z, x) - z)``, with ``a = g lambda / tau`` for the rate "exact" and
    ``a = softplus(g lambda D / tau + bias) / D`` for "sigmoid", D being the duration of a tick. Where s and g are
    constant and omega = 0, the solution after D is ``(1 - t) z + t s`` with the t of the cell: the closed form. Else
    the two differ by what s and g change within a tick. An input step is held for its duration.

    Source: Chen et al. 2018, arXiv:1806.07366; the field, Hasani et al. 2022, Nat. Mach. Intell. 4:992, eq. 1; the
    solvers are those of torchdiffeq.

    Parameters
    ----------
    core : AbstractModel
        The compiled network; it holds all parameters, and says s, g and the readout for a given state.
    method : str
        "dopri5" chooses its own steps; "rk4" and "euler" take one for each of the network's ticks.
    rtol, atol : float
        Relative and absolute tolerance of "dopri5". Its steps suit the whole batch, so that a sample's states depend
        on the others of its batch, within the tolerance.
    """

    def __init__(self, core: AbstractModel, method: str = "dopri5", rtol: float = 1e-4, atol: float = 1e-5):
        super().__init__()
        _solver()
        if method not in METHODS:
            raise ValueError(f"ODE: there is no method {method!r}; choose one of {', '.join(METHODS)}")
        flat = core.network.flat
        ((path, readout),) = flat.readouts.items()
        if readout.when != "last":
            raise ValueError(
                f"ODE: readout {path} reads when={readout.when!r}; the flow is read at its end, when='last'"
            )
        for path, p in flat.populations.items():
            if p.dynamics.memory != "none":
                raise ValueError(f"ODE: population {path} has memory {p.dynamics.memory!r}, which moves tick by tick")
            if p.dynamics.limiter == "clamp":
                raise ValueError(
                    f"ODE: population {path} has limiter 'clamp', which acts after a tick; use 'amplitude'"
                )
        for name, projection in flat.projections.items():
            if projection.memory != "none":
                raise ValueError(f"ODE: projection {name} has memory {projection.memory!r}, which moves tick by tick")
        self.core, self.method, self.rtol, self.atol = core, method, rtol, atol
        self.features, self.labels = core.features, core.labels
        timed = [torch.full((p.size,), "time" in p.dynamics.gain) for p in flat.populations.values()]
        exact = [torch.full((p.size,), p.dynamics.rate == "exact") for p in flat.populations.values()]
        self.register_buffer("timed", torch.cat(timed), persistent=False)
        self.register_buffer("exact", torch.cat(exact), persistent=False)

    def forward(
        self,
        x: Tensor,
        state: dict[str, Tensor] | None = None,
        *,
        dt: Any = None,
        lengths: Tensor | None = None,
        record: Sequence[str] = (),
    ) -> Output:
        """Logits (B, L) of x (B, T, F), and the state after each sample's last step; `dt` is one number for all."""
        if unknown := set(record) - {"logits"}:
            raise ValueError(f"ODE: cannot record {', '.join(sorted(unknown))}; only logits")
        if isinstance(dt, Tensor) and dt.numel() > 1:
            raise ValueError(f"ODE: dt has shape {tuple(dt.shape)}; give one number for all steps")
        call = self.core._checked(x, state, dt, lengths, ())
        assert isinstance(call.dt, float)
        end = torch.full((len(x),), x.shape[1], device=x.device) if call.lengths is None else call.lengths
        z = self._start(call.start, call.x)
        for k, x_BF in enumerate(call.x.unbind(1)):
            z = self._flow(z, x_BF, call.dt, (k < end)[:, None, None])
        last_x = call.x[torch.arange(len(x), device=x.device), end - 1]
        out = self._at(z, last_x)
        return answer(out.logits, dict(zip(("xr", "xi"), z.unbind(1), strict=True)), record)

    def field(self, z: Tensor, x: Tensor) -> Tensor:
        """Velocity dz/dt (B, 2, N) of states z (B, 2, N) under inputs x (B, F)."""
        record = self._at(z, x, ("steady", "gain")).record
        steady, gain = (record[name][:, -1] for name in ("steady", "gain"))
        g = torch.where(self.get_buffer("timed"), gain, 1.0)
        rate, bias, omega = self._constants()
        tick = float(self.core.network.dt) / self.core.network.ticks
        exact, sigmoid = g * rate, F.softplus(g * rate * tick + bias) / tick
        a = torch.where(self.get_buffer("exact"), exact, sigmoid)[:, None]
        turned = torch.stack([-omega * z[:, 1], omega * z[:, 0]], dim=1)
        return turned + a * (torch.stack([steady.real, steady.imag], dim=1) - z)

    def _flow(self, z: Tensor, x: Tensor, dt: float, runs: Tensor) -> Tensor:
        """States after `dt` under a held input; those of samples that are over stand still, and so cost no accuracy."""
        steps = 1 if self.method == "dopri5" else self.core.network.ticks
        times = torch.linspace(0, dt, steps + 1, dtype=z.dtype, device=z.device)

        def velocity(t: Tensor, now: Tensor) -> Tensor:
            del t  # the field does not change within an input step
            return torch.where(runs, self.field(now, x), 0.0)

        return _solver()(velocity, z, times, rtol=self.rtol, atol=self.atol, method=self.method)[-1]

    def _constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """lambda / tau, bias (0 where the rate is exact) and omega of all nodes, each (N,)."""
        v, populations = self.core.values, self.core.network.flat.populations
        rates = [F.softplus(v[f"{path}:rate"]) / p.dynamics.tau for path, p in populations.items()]
        biases = [
            v[f"{path}:rate_bias"] if f"{path}:rate_bias" in v else torch.zeros_like(rate)
            for path, rate in zip(populations, rates, strict=True)
        ]
        return torch.cat(rates), torch.cat(biases), torch.cat([v[f"{path}:omega"] for path in populations])

    def _at(self, z: Tensor, x: Tensor, record: tuple[str, ...] = ()) -> Output:
        """What the network says at states z: one step of it in which nothing moves."""
        still = {
            name: torch.full_like(value, STILL)
            for name, value in (*self.core.named_parameters(), *self.core.named_buffers())
            if name.endswith(":rate_bias")
        }
        state = dict(zip(("xr", "xi"), z.unbind(1), strict=True))
        return functional_call(self.core, still, (x[:, None], state), {"dt": INSTANT, "record": record})

    def _start(self, start: Tensor | None, x: Tensor) -> Tensor:
        if start is not None:
            return start
        v, parts = self.core.values, []
        for path, p in self.core.network.flat.populations.items():
            initial = v[f"{path}:initial"] if f"{path}:initial" in v else x.new_zeros(2, p.size)
            parts.append(initial.expand(len(x), 2, p.size))
        return torch.cat(parts, dim=-1)

    def to_json(self) -> str:
        """Return the declaration and the options, as canonical JSON."""
        network = json.loads(self.core.network.to_json())
        return json.dumps(
            {"atol": self.atol, "method": self.method, "network": network, "rtol": self.rtol}, sort_keys=True
        )


def _solver() -> Callable[..., Tensor]:
    try:
        from torchdiffeq import odeint
    except ImportError:
        raise ModuleNotFoundError(
            "ODE: the package torchdiffeq is not installed; it comes with the extra ode, as neuralfield-sim[ode]"
        ) from None
    return odeint
