"""Streaming: one input step of a compiled network as a tape, which a single call plays.

A step of the whole-sequence program is some hundred small operations, each of which costs more to call than to compute.
The tape is the same program for one step, written down once for the parameters of the moment: every weight assembled,
every instruction a row of a table (see `kernels._tape_numba`).

S value of a source, N node. States are blocks of 2N: xr of all nodes, then xi.
"""

from dataclasses import dataclass, field
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from nfsim.models.coupling import Coupling
from nfsim.models.drive import Drive
from nfsim.models.kernels._tape_numba import ACTIVATIONS, OPERANDS, Op, play
from nfsim.models.router import Router
from nfsim.models.stage import Stage
from nfsim.values import is_number

if TYPE_CHECKING:
    from nfsim.models.compiled import CompiledModel


_STATE = {"xr", "xi"}
_VERSION = attrgetter("_version")


@dataclass
class Tape:
    """Instructions, and the arrays that they reach into."""

    rows: list[list[int]] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    indices: list[np.ndarray] = field(default_factory=list)
    size: int = 0
    """Numbers in memory."""

    def room(self, n: int) -> int:
        """Offset of n numbers in memory."""
        self.size += n
        return self.size - n

    def hold(self, value: Tensor) -> int:
        """Offset in the weights of a tensor, row after row."""
        start = sum(map(len, self.weights))
        self.weights.append(value.detach().contiguous().view(-1).numpy().copy())
        return start

    def index(self, value: Tensor | np.ndarray) -> int:
        """Offset of some whole numbers in the index."""
        start = sum(map(len, self.indices))
        self.indices.append(np.asarray(value, dtype=np.int64))
        return start

    def add(self, op: Op, *operands: int) -> None:
        """Write an instruction."""
        self.rows.append([op, *operands, *[0] * (OPERANDS - 1 - len(operands))])

    def load(self, to: int, value: Tensor) -> None:
        """memory = value."""
        self.add(Op.LOAD, to, self.hold(value), value.numel())

    def product(self, to: int, at: int, W: Tensor) -> None:
        """memory += W memory, W (rows, columns)."""
        self.add(Op.PRODUCT, to, at, self.hold(W.T), *W.shape)


class Recorder:
    """Writes the tape of a model for its parameters of this moment.

    Parameters
    ----------
    model : one whose program has nothing against streaming.
    dt : duration of an input step.
    """

    def __init__(self, model: "CompiledModel", dt: float):
        self.model, self.tape = model, Tape()
        connectome = model.program.connectome
        self.flat, self.values, self.nodes = connectome.network.flat, model.values, connectome.nodes
        self.whole_dt, self.dt, self.dtype = dt, dt / model.network.ticks, self.values.one().dtype
        self.N = sum(p.size for p in self.flat.populations.values())
        self.first = {p: self.nodes.slices[p].start for p in model.paths}
        self.sizes = {p: self.flat.populations[p].size for p in model.paths}
        room = self.tape.room
        self.x = room(model.features)
        self.inputs, start = {}, self.x
        for path, i in self.flat.inputs.items():
            self.inputs[path], start = start, start + i.features
        self.before, self.now, self.u, self.pull = (room(2 * self.N) for _ in range(4))
        self.gain, self.ones = room(self.N), torch.ones(self.N, dtype=self.dtype)
        self.places = self.tape.hold(torch.from_numpy(self.nodes.positions.T.copy()).to(self.dtype))

    def record(self) -> "Player":
        """The whole step: every tick of every stage, then the readout."""
        constants = {stage.key: self._constants(stage) for stage in self.model.stages}
        ticks = self.model.network.ticks
        for k in range(ticks):
            for stage in self.model.stages:
                self._stage(stage, constants[stage.key])
            if k + 1 < ticks:
                self.tape.add(Op.COPY, self.before, self.now, 2 * self.N)
        logits = self._readout()
        starts = [self.model._initial(p) for p in self.model.paths]
        places, widths = (self.x, self.before, self.now, logits), (self.model.features, len(self.model.labels))
        return Player(self.tape, places, torch.cat(starts, dim=-1), widths, self.whole_dt, self.values.drawn())

    def _stage(self, stage: Stage, constants: int) -> None:
        """(1) regional means and gain, (2) drive, (3) coupling, (4) steady state, rate and new state."""
        folds = stage.plan.schedule == "scan" and stage.folds and not stage.drive_is_heard
        if isinstance(stage.router, Router):
            self._gain(stage.router, self.before)
        for path in stage.paths:
            first, n = self.first[path], self.sizes[path]
            if not stage.router:
                self.tape.load(self.gain + first, self.ones[:n])
            for block in (self.pull, self.pull + self.N):
                self.tape.load(block + first, 0 * self.ones[:n])
            drives = [d for d in (*stage.outer, *stage.inner) if d.target == path]
            rows, bias = stage.outer_weights(path, stage.on_drive if folds else [])
            rows += [d.weight() for d in stage.inner if d.target == path]
            for half in (0, 1):
                self.tape.load(self.u + half * self.N + first, bias[half * n : (half + 1) * n])
            for d, W in zip(drives, rows, strict=True):
                read = self._hidden(d, inside=stage.paths)
                for half in (0, 1):
                    self.tape.product(self.u + half * self.N + first, read, W[half * n : (half + 1) * n])
        for k in stage.on_state:
            self._couple(k, self.before)
        for k in () if folds else stage.on_drive:
            self._couple(k, self.u)
        for path in stage.paths:
            blocks = self.before, self.u, self.pull, self.gain, self.now
            self.tape.add(Op.UPDATE, *blocks, constants, self.first[path], self.sizes[path])

    def _constants(self, stage: Stage) -> int:
        """Offset of the rows of `_tape_numba._update`; nodes of other stages are 0 there."""
        c, v = stage.constants(), self.values
        angle = c.omega * self.dt
        exact = v[stage.exact] if c.exact is not None else torch.zeros_like(angle)
        bias = torch.zeros_like(angle) if c.rate_bias is None else torch.where(exact > 0, 0, c.rate_bias)
        limits = v[stage.inverse_square], v[stage.inverse_ceiling]
        gains = [v[stage.gain_at[place]] for place in ("time", "drive", "coupling")]
        rows = torch.stack([c.rate * self.dt, bias, exact, angle.cos(), angle.sin(), *limits, *gains])
        whole = torch.zeros(len(rows), self.N, dtype=self.dtype)
        for path, part in zip(stage.paths, rows.split(stage.sizes, dim=-1), strict=True):
            whole[:, self.first[path] : self.first[path] + self.sizes[path]] = part
        return self.tape.hold(whole)

    def _read(self, paths: tuple[str, ...], where: dict[str, int]) -> int:
        """Offset of [xr, xi] of some populations, side by side."""
        width = sum(self.sizes[p] for p in paths)
        to = at = self.tape.room(2 * width)
        for half in (0, 1):
            for p in paths:
                self.tape.add(Op.COPY, at, where[p] + half * self.N + self.first[p], self.sizes[p])
                at += self.sizes[p]
        return to

    def _rates(self, paths: tuple[str, ...], where: dict[str, int]) -> int:
        """Offset of |z| of some populations, side by side."""
        to = at = self.tape.room(sum(self.sizes[p] for p in paths))
        for p in paths:
            self.tape.add(Op.RATES, at, where[p] + self.first[p], self.sizes[p])
            at += self.sizes[p]
        return to

    def _hidden(self, d: Drive, inside: tuple[str, ...]) -> int:
        """Offset of what the last weight of a drive acts on; see `Drive.hidden`."""
        p, tape = d.projection, self.tape
        if d.from_input:
            y = tape.room(d.width)
            tape.add(Op.COPY, y, self.inputs[d.source[0]], d.width)
        else:
            where = {path: self.before if path in inside else self.now for path in d.source}
            y = self._rates(d.source, where) if p.signal == "rate" else self._read(d.source, where)
        if p.normalise:
            tape.add(Op.DIVIDE, y, d.width, d.parts)
        if p.rank is None:
            return y
        h = tape.room(p.rank)
        none = torch.zeros(p.rank, dtype=self.dtype)
        tape.load(h, self.values[f"{d.name}:hidden_bias"] if p.activation else none)
        tape.product(h, y, self.values[f"{d.name}:hidden"])
        if p.activation:
            tape.add(Op.ACTIVATE, h, p.rank, ACTIVATIONS[p.activation])
        return h

    def _couple(self, k: Coupling, block: int) -> None:
        """Add the pull of a coupling on a state or a drive."""
        targets, sources = (torch.from_numpy(self.nodes.index(paths)) for paths in (k.targets, k.source))
        row, column = k.row(), k.column()
        order = torch.argsort(row, stable=True)
        starts = torch.cat([row.new_zeros(1), torch.bincount(row, minlength=len(targets)).cumsum(0)])
        operands = self.tape.index(targets), len(targets), self.tape.index(starts)
        edges = self.tape.index(sources[column[order]]), self.tape.hold(k.scaled_edges()[order])
        self.tape.add(Op.PULL, self.pull, block, *operands, *edges)

    def _gain(self, router: Router, block: int) -> None:
        """The gain of a router's targets; see `Router.route`."""
        w, tape, K, Q, v = router.assemble(), self.tape, len(router.nuclei), router.numbers, self.values
        relayed = tape.room(len(w.bias))
        where = dict.fromkeys(self.sizes, block)
        tape.load(relayed, w.bias)
        if router.by_input:
            tape.product(relayed, self.x, w.from_input)
        if router.reads:
            m = tape.room(3 * len(router.reads))
            for i, p in enumerate(router.reads):
                tape.add(Op.MEANS, m + 3 * i, block + self.first[p], self.sizes[p])
            tape.product(relayed, m, w.from_means)
        shift = tape.room(K)
        tape.load(shift, torch.zeros(K, dtype=self.dtype))
        if router.feeds:
            tape.product(shift, self._rates(router.feeds, where), w.feedback)
        if router.partners:
            tape.add(Op.ACTIVATE, relayed + Q * K, len(router.partners), ACTIVATIONS["relu"])
            tape.product(shift, relayed + Q * K, -w.inhibition)
        share, ungated = v[router.share], v[router.ungated]
        for path, local in router.locals.items():
            first, n = self.first[path], self.sizes[path]
            tape.load(self.gain + first, ungated[local])
            nuclei = K, Q, relayed, shift, self.places + first, tape.hold(share[:, local])
            tape.add(Op.GAIN, self.gain + first, n, *nuclei, block + first)

    def _readout(self) -> int:
        """Offset of the logits; see `Readout.features`."""
        readout, tape, v = self.model.readout, self.tape, self.values
        kind, where = readout.readout.kind, dict.fromkeys(self.sizes, self.now)
        if isinstance(readout.router, Router):
            self._gain(readout.router, self.now)
        n = sum(self.sizes[p] for p in readout.reads)
        parts = [self._rates(readout.reads, where)]
        if kind == "state":
            z = self._read(readout.reads, where)
            parts = [z, z + n, *parts]
        at = 0
        for p in readout.reads:
            for part in parts if readout.router and p in readout.gated else ():
                tape.add(Op.MULTIPLY, part + at, self.gain + self.first[p], self.sizes[p])
            at += self.sizes[p]
        if kind == "sector":
            W, bias = v[readout.share] * v[f"{readout.path}:scale"], None
        else:
            W, bias = v[f"{readout.path}:weight"], v[f"{readout.path}:bias"]
        logits = tape.room(len(W))
        tape.load(logits, torch.zeros(len(W), dtype=self.dtype) if bias is None else bias)
        for part, columns in zip(parts, W.split(n, dim=-1), strict=True):
            if readout.readout.normalise:
                tape.add(Op.DIVIDE, part, n, 1)
            tape.product(logits, part, columns)
        return logits


class _Optimizers:
    """Steps of all optimizers since this was loaded: those of a fused one leave no trace in a tensor's version."""

    steps = 0

    @classmethod
    def count(cls, *_: Any) -> None:
        """Called by torch after every step."""
        cls.steps += 1


register_optimizer_step_post_hook(_Optimizers.count)


class Player:
    """A finished tape.

    Parameters
    ----------
    places : offsets in memory of x, the state before, the state after, and the logits.
    start : (2, N) the state that a sequence starts from.
    widths : features and labels.
    dt, drawn : what it was written for, the duration of a step and every value of the model.
    """

    def __init__(
        self,
        tape: Tape,
        places: tuple[int, ...],
        start: Tensor,
        widths: tuple[int, int],
        dt: float,
        drawn: list[Tensor],
    ):
        self.tape = np.array(tape.rows, dtype=np.uintp)
        self.weight = np.concatenate(tape.weights)
        self.index = np.concatenate([*tape.indices, np.zeros(1, dtype=np.int64)])
        self.size, self.places = tape.size, np.array(places, dtype=np.uintp)
        self.start, self.dtype = start.detach(), start.dtype
        self.features, self.labels, self.nodes = *widths, start.shape[-1]
        self.dt, self.drawn, self.versions = dt, drawn, list(map(_VERSION, drawn))
        self.steps = _Optimizers.steps

    def holds(self, dt: Any, drawn: list[Tensor]) -> bool:
        """Whether it is the tape for these values, none of them changed since in a way that torch counts."""
        if not is_number(dt) or dt != self.dt or _Optimizers.steps != self.steps:
            return False
        return all(map(is_, drawn, self.drawn)) and list(map(_VERSION, drawn)) == self.versions

    def __call__(self, x: Any, state: Any) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Logits [B, L] and the state after x [B, F]; None where anything is not as it should be."""
        if not self._fits(x, self.features):
            return None
        B, N = len(x), self.nodes
        if state is None:
            before = list(self.start.expand(B, -1, -1).unbind(1))
        elif type(state) is dict and state.keys() == _STATE:
            before = [state["xr"], state["xi"]]
            if not all(self._fits(z, N) and len(z) == B for z in before):
                return None
        else:
            return None
        read = [(t if t.is_contiguous() else t.contiguous()).detach().numpy() for t in (x, *before)]
        kind = self.weight.dtype
        logits, xr, xi = np.empty((B, self.labels), kind), np.empty((B, N), kind), np.empty((B, N), kind)
        if not play(self.tape, self.index, self.weight, np.empty(self.size, kind), self.places, *read, logits, xr, xi):
            return None
        return torch.from_numpy(logits), {"xr": torch.from_numpy(xr), "xi": torch.from_numpy(xi)}

    def _fits(self, value: Any, width: int) -> bool:
        """Whether a value is a tensor [B >= 1, width] on the CPU, of the dtype of the tape."""
        if type(value) is not Tensor or value.dtype != self.dtype or not value.is_cpu:
            return False
        shape = value.shape
        return len(shape) == 2 and shape[1] == width and shape[0] > 0
