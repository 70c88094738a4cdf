"""A stage: populations that run together, as one scan over the whole sequence or as a loop over ticks.

B batch, T tick, N node of the stage. States and drives are real, [..., 2, N]: the parts xr and xi, then the nodes.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.compiler.program import Program
from nfsim.models import cell
from nfsim.models.ambassador import make_router
from nfsim.models.attention import Attention
from nfsim.models.coupling import Coupling
from nfsim.models.coupling import Weights as CouplingWeights
from nfsim.models.drive import Drive, turn_rows
from nfsim.models.fast_weights import FastWeights
from nfsim.models.gated_memory import GatedMemory
from nfsim.models.kernels import cfc_scan, routed_scan
from nfsim.models.router import Router
from nfsim.models.values import Values

ByPath = dict[str, Tensor]


@dataclass
class Run:
    """One call of the model: what came in, and what the stages have done so far."""

    x: Tensor
    """[B, steps, F], all inputs."""
    inputs: ByPath
    """path -> [B, steps, features]."""
    ticks: int
    """Updates per input step; T = steps * ticks."""
    dt: Tensor | float
    """Duration of a tick: a number, or [B, T, 1]."""
    start: ByPath
    """path -> [B, 2, n], state before the first tick."""
    z: ByPath = field(default_factory=dict)
    """path -> [B, T, 2, n], of the populations that have run."""
    u: ByPath = field(default_factory=dict)
    """path -> [B, T, 2, n], their drive."""
    v: ByPath = field(default_factory=dict)
    """path -> [B, T, 2, n], drive and coupling with the gain that acts on them: the steady state before its limiter."""

    last: ByPath = field(default_factory=dict)
    """path -> [B, 2, n], state after the last tick."""
    memory: ByPath = field(default_factory=dict)
    """path -> [B, 2, n] of populations with gated memory: before the first tick, then after each sample's last."""
    fast: ByPath = field(default_factory=dict)
    """Name of a coupling with Hebbian memory -> [B, E], the same of its fast weights."""
    ends: Tensor | None = None
    """[B] index of each sample's last tick; None where all run to the end."""
    relayed: tuple[Tensor, Tensor] | None = None
    """Query [B, T, K, 3] and shift [B, T, K] of all nuclei of scanned stages that listen to nothing but the input."""
    routes: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Key of such a stage -> the part of its own nuclei."""
    keeps_states: bool = True
    """Whether whole sequences are wanted of states that no later stage hears."""
    keeps_drive: bool = True
    """Whether they are wanted of drives."""

    def previous(self, path: str) -> Tensor:
        """State one tick earlier [B, T, 2, n]."""
        return torch.cat([self.start[path].unsqueeze(1), self.z[path][:, :-1]], dim=1)

    def hold(self, value: Tensor) -> Tensor:
        """A value per input step [B, steps, ...] as one per tick [B, T, ...]."""
        return value if self.ticks == 1 else value.repeat_interleave(self.ticks, dim=1)


@dataclass
class Constants:
    """The node constants of a stage, from the parameters of this moment."""

    rate: Tensor
    """(N,) lambda / tau, per time unit."""
    rate_bias: Tensor | None
    """(N,); None where every rate is exact."""
    exact: Tensor | None
    """(N,) bool, the nodes with an exact rate; None where there are none."""
    omega: Tensor
    """(N,) rad per time unit."""


def cat(tensors: list[Tensor], dim: int = -1) -> Tensor:
    """torch.cat that returns a single tensor as it is."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Sum of two terms that may be absent."""
    return b if a is None else a if b is None else a + b


def total(terms: list[Tensor | None]) -> Tensor:
    """Sum of terms of which some may be absent."""
    known = [term for term in terms if term is not None]
    return sum(known[1:], start=known[0])


class Stage:
    """One stage of a program, over the values of its network."""

    def __init__(self, program: Program, index: int, values: Values):
        connectome, self.plan = program.connectome, program.stages[index]
        flat, self.values = connectome.network.flat, values
        self.paths = self.plan.populations
        self.sizes = [flat.populations[p].size for p in self.paths]
        self.dynamics = [flat.populations[p].dynamics for p in self.paths]
        inside = set(self.paths)
        drives = [Drive(connectome, n, t, values) for n in self.plan.drives for t in flat.target(n) if t in inside]
        self.outer = [d for d in drives if not inside & set(d.source)]
        self.inner = [d for d in drives if inside & set(d.source)]
        couplings = [
            Coupling(
                connectome, n, tuple(t for t in flat.target(n) if t in inside), values, self.plan.coupling_kernels[n]
            )
            for n in self.plan.couplings
        ]
        self.on_state = [c for c in couplings if c.projection.on == "state"]
        self.on_drive = [c for c in couplings if c.projection.on == "drive"]
        self.router = make_router(connectome, self.paths, self.plan.nuclei, values)
        mixing = tuple(n for n in self.plan.nuclei if flat.nuclei[n].gating == "attention")
        self.attention = Attention(connectome, self.paths, mixing, values) if mixing else None
        self.fast = [FastWeights(c) for c in couplings if c.projection.memory == "hebbian"]
        gated = any(d.memory == "gated" for d in self.dynamics)
        self.memory = GatedMemory(flat, self.paths, values) if gated else None
        self.state_is_heard = self.drive_is_heard = True
        # a coupling of the drive is linear in it, so it folds into the weights unless a gain comes between
        free = not self.router or not {"drive", "coupling"} & {place for d in self.dynamics for place in d.gain}
        self.folds = free and all(set(k.source) == set(self.paths) for k in self.on_drive)
        only_time = all(set(d.gain) & {"time", "drive", "coupling"} == {"time"} for d in self.dynamics)
        self.routes_in_scan = (
            isinstance(self.router, Router) and self.router.numbers == 3 and self.router.all_gated and only_time
        )
        self.turns = any(d.learn_omega or d.omega != 0 for d in self.dynamics)
        self.key = "+".join(self.paths)
        self.inverse_square = self._keep(
            "inverse_square", [d.amplitude**-2 if d.limiter == "amplitude" else 0.0 for d in self.dynamics]
        )
        self.inverse_ceiling = self._keep(
            "inverse_ceiling", [1 / d.amplitude if d.limiter == "clamp" else 0.0 for d in self.dynamics]
        )
        self.exact = self._keep("exact", [d.rate == "exact" for d in self.dynamics])
        self.gain_at = {
            place: self._keep(f"gain_{place}", [place in d.gain for d in self.dynamics])
            for place in ("time", "drive", "coupling")
        }

    def _keep(self, name: str, per_population: list[float] | list[bool]) -> str:
        dtype = torch.bool if isinstance(per_population[0], bool) else self.values.dtype
        value = [torch.full((n,), x, dtype=dtype) for n, x in zip(self.sizes, per_population, strict=True)]
        return self.values.keep(f"{self.key}:{name}", torch.cat(value))

    def constants(self) -> Constants:
        """The node constants of this moment's parameters."""
        v, dynamics = self.values, dict(zip(self.paths, self.dynamics, strict=True))
        rates = {p: F.softplus(v[f"{p}:rate"]) / d.tau for p, d in dynamics.items()}
        exact = [d.rate == "exact" for d in self.dynamics]
        biases = [v[f"{p}:rate_bias"] if f"{p}:rate_bias" in v else torch.zeros_like(r) for p, r in rates.items()]
        return Constants(
            rate=cat(list(rates.values())),
            rate_bias=None if all(exact) else cat(biases),
            exact=v[self.exact] if any(exact) else None,
            omega=cat([v[f"{p}:omega"] for p in self.paths]),
        )

    def hears(self) -> set[str]:
        """Populations whose states this stage needs."""
        paths = {p for d in (*self.outer, *self.inner) for p in d.source} | {p for k in self.on_state for p in k.source}
        paths |= set(self.attention.listens if self.attention else ())
        return paths | set(self.router.listens if self.router else ())

    def split(self, value: Tensor) -> ByPath:
        """path -> part of a value [..., N] of the stage."""
        return dict(zip(self.paths, value.split(self.sizes, dim=-1), strict=True))

    def outer_drive(self, run: Run, smoothed: bool = False) -> Tensor:
        """What inputs and earlier stages drive, bias and preferred phase included [B, T, 2, N].

        `smoothed` adds the coupling of a single population on its own drive: it is linear, so it acts on the weights,
        at no cost per step.
        """
        return cat([self._driven_from_outside(path, run, self.on_drive if smoothed else []) for path in self.paths])

    def _driven_from_outside(self, path: str, run: Run, smooth: list[Coupling]) -> Tensor:
        drives = [d for d in self.outer if d.target == path]
        rows, bias = self.outer_weights(path, smooth)
        held: Tensor | None = None
        added: Tensor | None = None
        for d, weight in zip(drives, rows, strict=True):
            once = bias if held is None and added is None else None
            if d.from_input:
                held = add(held, F.linear(d.hidden(run.inputs[d.source[0]]), weight, once))
            else:
                added = add(added, F.linear(d.hidden(d.read(cat([run.z[p] for p in d.source]))), weight, once))
        u = add(None if held is None else run.hold(held), added)
        u = bias.expand(run.x.shape[0], run.x.shape[1] * run.ticks, -1) if u is None else u
        return u.unflatten(-1, (2, -1))

    def outer_weights(self, path: str, smooth: list[Coupling]) -> tuple[list[Tensor], Tensor]:
        """Weights (2n, S) of the outer drives of a population and their bias (2n,), the couplings `smooth` included."""
        bias, phase = self.values[f"{path}:drive_bias"], f"{path}:phase"
        bias = turn_rows(bias, self.values[phase]) if phase in self.values else bias
        rows = [d.weight() for d in self.outer if d.target == path]
        if smooth:
            whole = cat([*rows, bias.unsqueeze(-1)])
            whole = sum((k.pull(whole) for k in smooth), start=whole)
            *rows, bias = whole.split([*(w.shape[-1] for w in rows), 1], dim=-1)
            bias = bias.squeeze(-1).contiguous()  # else F.linear adds it in a pass of its own
        return list(rows), bias

    def gate(self, c: Constants, gain: Tensor | None, dt: Tensor | float) -> Tensor:
        """What the update rate is made of [..., N]: ``g lambda dt / tau``, plus the bias if the rate is a sigmoid."""
        gate = c.rate * dt
        if gain is not None and any("time" in d.gain for d in self.dynamics):
            at = self._at("time", gain)
            return gate * at if c.rate_bias is None else torch.addcmul(c.rate_bias, gate, at)
        return gate if c.rate_bias is None else gate + c.rate_bias

    def update_rate(self, c: Constants, gain: Tensor | None, dt: Tensor | float) -> Tensor:
        """t [..., N] from the gain [..., N], or from dt alone."""
        gate = self.gate(c, gain, dt)
        if c.exact is None:
            return cell.update_rate(gate, "sigmoid")
        if c.rate_bias is None:
            return cell.update_rate(gate, "exact")
        return torch.where(c.exact, cell.update_rate(gate, "exact"), cell.update_rate(gate, "sigmoid"))

    def _at(self, place: str, gain: Tensor) -> Tensor:
        """The gain where it acts at `place`, 1 elsewhere."""
        everywhere = all(place in d.gain for d in self.dynamics)
        return gain if everywhere else torch.where(self.values[self.gain_at[place]], gain, 1.0)

    def scaled(self, place: str, value: Tensor | None, gain: Tensor | None) -> Tensor | None:
        """A drive or a coupling [..., 2, N] times the gain, where it acts there."""
        if value is None or gain is None or not any(place in d.gain for d in self.dynamics):
            return value
        return value * self._at(place, gain).unsqueeze(-2)

    def couple(
        self, couplings: list[Coupling], weights: list[CouplingWeights], states: ByPath, whole: Tensor | None = None
    ) -> Tensor | None:
        """F of several couplings [..., 2, N] from path -> [..., 2, n], states or drives; `whole`: the stage's own."""
        pulls: list[Tensor | None] = []
        by_path: ByPath = {}
        for c, w in zip(couplings, weights, strict=True):
            if whole is not None and c.source == c.targets == self.paths:
                pulls.append(c.diffuse(w, whole, whole))
                continue
            pull = c.diffuse(w, cat([states[p] for p in c.source]), cat([states[p] for p in c.targets]))
            for p, part in zip(c.targets, pull.split([states[p].shape[-1] for p in c.targets], dim=-1), strict=True):
                by_path[p] = part if p not in by_path else by_path[p] + part
        if by_path:
            pulls.append(cat([by_path[p] if p in by_path else torch.zeros_like(states[p]) for p in self.paths]))
        return total(pulls) if pulls else None

    def scan(self, run: Run) -> None:
        """Run the whole sequence at once: neither steady state nor rate depends on the state."""
        (path,), (dynamics,) = self.paths, self.dynamics
        c, last_only = self.constants(), not (self.state_is_heard or run.keeps_states)
        turn = cell.rotation(c.omega, run.dt).flatten(-2) if self.turns else None
        amplitude = dynamics.amplitude if dynamics.limiter == "amplitude" else None
        after = turn, run.start[path].flatten(-2), amplitude
        how: dict[str, Any] = {"gate": dynamics.rate, "final": last_only}
        if self.folds:
            v = self.outer_drive(run, smoothed=True)
            if self.drive_is_heard or run.keeps_drive:
                run.u[path] = self.outer_drive(run)
        if self.routes_in_scan and isinstance(run.dt, float):
            assert isinstance(self.router, Router)
            query, shift = self.route(run)
            nuclei = query, shift, self.values[self.router.positions], self.values[self.router.share]
            z = routed_scan(v.flatten(-2), *nuclei, c.rate * run.dt, c.rate_bias, *after, **how)
        else:
            gain = self.router.gain(*self.route(run), None) if self.router else None
            if not self.folds:
                run.u[path] = u = self.outer_drive(run)
                pull = self.couple(self.on_drive, [k.weights() for k in self.on_drive], run.u)
                v = total([self.scaled("drive", u, gain), self.scaled("coupling", pull, gain)])
            z = cfc_scan(v.flatten(-2), self.gate(c, gain, run.dt), *after, **how)
        z = z.unflatten(-1, (2, -1))
        run.v[path], run.last[path] = v, z if last_only else z[:, -1]
        if not last_only:
            run.z[path] = z

    def route(self, run: Run) -> tuple[Tensor, Tensor]:
        """Query and shift of the stage's nuclei for every tick [B, T, K, Q] and [B, T, K]."""
        assert self.router is not None
        if self.key in run.routes:
            return run.routes[self.key]
        w, states = self.router.assemble(), {p: run.previous(p) for p in self.router.listens}
        return self.router.route(w, run.hold(self.router.relay(w, run.x)), states)


def stages(program: Program, values: Values) -> list[Stage]:
    """The stages of a program in the order they run, each knowing whether a later one hears its states or its drive."""
    made = [Stage(program, i, values) for i in range(len(program.stages))]
    for i, stage in enumerate(made):
        later = made[i + 1 :]
        states = {p for s in later for p in s.hears()}
        drives = {p for s in later for k in s.on_drive for p in k.source}
        stage.state_is_heard, stage.drive_is_heard = bool(states & set(stage.paths)), bool(drives & set(stage.paths))
    return made
