"""The torch backend: the stages of a program in order, then the readout.

B batch, T tick, N node. States are real, [..., 2, N].
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfsim.compiler.program import FUSED, SCAN, Program
from nfsim.models import cell, guard
from nfsim.models.ambassador import make_router
from nfsim.models.fused import Edges, run_fused
from nfsim.models.model import AbstractModel, Call, Output
from nfsim.models.readout import Readout
from nfsim.models.router import Router
from nfsim.models.stage import Run, Stage, stages
from nfsim.models.ticks import run_ticks
from nfsim.values import is_number

if TYPE_CHECKING:
    from nfsim.models.tape import Player


class CompiledModel(AbstractModel):
    """A network lowered to torch."""

    def __init__(self, program: Program, dtype: torch.dtype = torch.float32):
        super().__init__(program, dtype)
        connectome, flat = program.connectome, program.connectome.network.flat
        self.paths = tuple(flat.populations)
        self.stages = stages(program, self.values)
        self.readout = Readout(connectome, self.values)
        self.relayed = [s for s in self.stages if s.plan.schedule == "scan" and s.router and not s.router.listens]
        self.relays = self._shared_relays()
        self.read_routes = self._read_routes()
        self.edges = {s.key: Edges(s) if s.on_state else None for s in self.stages if s.plan.kernel == FUSED}
        v0 = [torch.full((p.size,), p.dynamics.prior_variance, dtype=dtype) for p in flat.populations.values()]
        self.prior = self.values.keep("prior_variance", torch.cat(v0))
        self.router = make_router(connectome, self.paths, tuple(flat.nuclei), self.values)
        self.streams = not program.against_streaming
        self.drops = self.readout.readout.dropout > 0 or any(p.dropout for p in flat.projections.values())
        self._tape: Player | None = None

    def _shared_relays(self) -> Router | None:
        """One router for the nuclei of all scanned stages that listen to the input alone: one product routes all."""
        flat = self.network.flat
        nuclei = tuple(n for s in self.relayed for n in s.plan.nuclei)
        if len(set(nuclei)) < len(nuclei) or not nuclei:
            return None
        paths = {p for s in self.relayed for p in s.paths}
        return Router(self.program.connectome, tuple(p for p in flat.populations if p in paths), nuclei, self.values)

    def _read_routes(self) -> slice | list[int] | None:
        """Which of the shared relays set the gain of what is read; None where the readout routes by itself."""
        router = self.readout.router
        if not (self.relays and isinstance(router, Router) and set(router.nuclei) <= set(self.relays.nuclei)):
            return None
        index = [self.relays.nuclei.index(n) for n in router.nuclei]
        together = slice(index[0], index[-1] + 1)
        return together if index == list(range(together.start, together.stop)) else index

    def run(self, call: Call) -> Output:
        """Each stage over the whole sequence; then the readout, the state to continue from, and the record."""
        run = self._begin(call)
        if self.relays:
            w = self.relays.assemble()
            run.relayed = self.relays.route(w, run.hold(self.relays.relay(w, call.x)), {})
            sizes = [len(s.plan.nuclei) for s in self.relayed]
            routes = zip(*(r.split(sizes, dim=2) for r in run.relayed), strict=True)
            run.routes = dict(zip((s.key for s in self.relayed), routes, strict=True))
        for stage in self.stages:
            self._run_stage(stage, run)
            if self.guard:
                for path in stage.paths:
                    guard.look(path, run.z[path], run.ticks)
        ends = None if call.lengths is None else call.lengths * run.ticks - 1
        last = run.last if ends is None else {p: _at(z, ends) for p, z in run.z.items()}
        xr, xi = torch.cat([last[p] for p in self.paths], dim=-1).unbind(1)
        record = self._record(run, call) if call.record else {}
        return Output(self._logits(run, call, last), {"xr": xr, "xi": xi} | self._carried(run), record)

    def step(self, x: Tensor, state: dict[str, Tensor] | None = None, *, dt: float | Tensor | None = None) -> Output:
        """One input step x [batch, feature], from `state`: the streaming form, with the numbers of the sequence.

        Without gradients on the CPU it is one call, which plays a tape of the step. The tape is written anew, at the
        cost of some steps, after any change of a parameter that torch counts: an optimizer's, `load_state_dict`, any
        operation in place. Of changes through `.data` or numpy torch knows nothing, nor does the tape.
        """
        if self.streams and not (torch.is_grad_enabled() or self.guard or torch.compiler.is_compiling()):
            player = self._player(self.network.dt if dt is None else dt)
            found = player(x, state) if player else None
            if found is not None:
                return Output(*found, {})
        return super().step(x, state, dt=dt)  # also for what is refused, with the reason

    def _player(self, dt: Any) -> "Player | None":
        """The tape for the parameters of this moment; None where there can be none."""
        drawn = self.values.drawn()
        if self._tape is None or not self._tape.holds(dt, drawn):
            self._tape = None
            if drawn[0].device.type == "cpu" and is_number(dt) and dt > 0 and not any(v.is_inference() for v in drawn):
                from nfsim.models.tape import Recorder  # which needs numba

                self._tape = Recorder(self, float(dt)).record()
        return None if self.training and self.drops else self._tape

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moved or cast: the tape is of what was before."""
        self._tape = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Copied or pickled without the tape: the tensors of a copy count their changes anew."""
        return {**self.__dict__, "_tape": None}

    def _carried(self, run: Run) -> dict[str, Tensor]:
        """What `self.carried` names beside xr and xi, after each sample's last tick."""
        carried: dict[str, Tensor] = {}
        if run.memory:
            whole = [run.memory[p] if p in run.memory else torch.zeros_like(run.start[p]) for p in self.paths]
            carried |= zip(("cr", "ci"), torch.cat(whole, dim=-1).unbind(1), strict=True)
        return carried | {self.fast_name(name): W for name, W in run.fast.items()}

    def _run_stage(self, stage: Stage, run: Run) -> None:
        """Run a stage as the program says; `cfc_loop` is written for the CPU."""
        if stage.plan.kernel == SCAN:
            stage.scan(run)
        elif stage.plan.kernel == FUSED and run.x.device.type == "cpu":
            run_fused(stage, self.edges[stage.key], run)
        else:
            run_ticks(stage, run)

    def _begin(self, call: Call) -> Run:
        network = self.network
        flat, ticks = network.flat, network.ticks
        inputs = dict(zip(flat.inputs, call.x.split([i.features for i in flat.inputs.values()], dim=-1), strict=True))
        if call.start is None:
            start = {p: self._initial(p).expand(len(call.x), -1, -1) for p in self.paths}
        else:
            sizes = [p.size for p in flat.populations.values()]
            start = dict(zip(self.paths, call.start.split(sizes, dim=-1), strict=True))
        run = Run(call.x, inputs, ticks, 0.0, start)
        run.ends = None if call.lengths is None else call.lengths * ticks - 1
        self._begin_memories(run, call)
        run.keeps_drive = bool(call.record)
        run.keeps_states = (
            self.guard or bool(call.record) or call.lengths is not None or self.readout.readout.when != "last"
        )
        run.dt = run.hold(call.dt.unsqueeze(-1)) / ticks if isinstance(call.dt, Tensor) else call.dt / ticks
        return run

    def _begin_memories(self, run: Run, call: Call) -> None:
        """What was carried by the state that the call continues from, else 0."""
        names = [name for name in self.carried if name not in ("xr", "xi")]
        held = {n: call.carried[n] if call.carried else call.x.new_zeros(len(call.x), self.carried[n]) for n in names}
        run.fast |= {name: held[self.fast_name(name)] for name in self.fast_edges}
        if "cr" in held:
            populations = self.network.flat.populations
            parts = torch.stack([held["cr"], held["ci"]], dim=1).split([p.size for p in populations.values()], dim=-1)
            by_path = zip(populations.items(), parts, strict=True)
            run.memory |= {path: c for (path, p), c in by_path if p.dynamics.memory == "gated"}

    def _initial(self, path: str) -> Tensor:
        v = self.values
        return (
            v[f"{path}:initial"] if f"{path}:initial" in v else v[f"{path}:rate"].new_zeros(2, len(v[f"{path}:rate"]))
        )

    def _logits(self, run: Run, call: Call, last: dict[str, Tensor]) -> Tensor:
        readout, when = self.readout, self.readout.readout.when
        if when == "last":
            steps = None if call.lengths is None else call.lengths - 1
            return readout.logits(
                readout.features(last, _at(call.x, steps), self._route(run, lambda s: _at(s, run.ends)))
            )
        if when == "each":
            ends = {p: z[:, run.ticks - 1 :: run.ticks] for p, z in run.z.items()}
            each = slice(run.ticks - 1, None, run.ticks)
            return readout.logits(readout.features(ends, call.x, self._route(run, lambda s: s[:, each])))
        features = readout.features(run.z, run.hold(call.x), self._route(run, lambda s: s))
        return readout.logits(mean_over_time(features, None if call.lengths is None else call.lengths * run.ticks))

    def _route(self, run: Run, take: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor] | None:
        """Query and shift of the readout's nuclei in the ticks that `take` takes of them all, if they are known."""
        if run.relayed is None or self.read_routes is None:
            return None
        query, shift = (take(s) for s in run.relayed)
        return query[..., self.read_routes, :], shift[..., self.read_routes]

    def _steady(self, run: Run) -> dict[str, Tensor]:
        steady: dict[str, Tensor] = {}
        for stage in self.stages:
            v = torch.cat([run.v[p] for p in stage.paths], dim=-1)
            steady |= stage.split(cell.limit(v, self.values[stage.inverse_square]))
        return steady

    def _record(self, run: Run, call: Call) -> dict[str, Tensor]:
        """The variables asked for; gain is what acted in each tick: that of the state before it."""
        wanted, record = set(call.record), {}
        z, steady = (torch.cat([store[p] for p in self.paths], dim=-1) for store in (run.z, self._steady(run)))
        before = {p: run.previous(p) for p in self.paths}
        if "logits" in wanted:
            record["logits"] = self.readout.logits(self.readout.features(run.z, run.hold(call.x)))
        for name, value in (("z", z), ("steady", steady)):
            if name in wanted:
                record[name] = torch.complex(*value.unbind(-2))
        if "drive" in wanted:
            record["drive"] = torch.complex(*torch.cat([run.u[p] for p in self.paths], dim=-1).unbind(-2))
        if wanted & {"gain", "nucleus_gain", "energy_accuracy", "energy_complexity"}:
            past = torch.cat([before[p] for p in self.paths], dim=-1)
            gain = torch.ones_like(z[..., 0, :])
            if self.router:
                w = self.router.assemble()
                by_nucleus = self.router.nucleus_gain(w, run.hold(self.router.relay(w, call.x)), before, past)
                gain = self.router.mean(by_nucleus)
                if "nucleus_gain" in wanted:
                    record["nucleus_gain"] = self.router.mean_over_targets(by_nucleus)
            elif "nucleus_gain" in wanted:  # nuclei there are set no gain
                record["nucleus_gain"] = gain.new_ones(*gain.shape[:2], len(self.network.flat.nuclei))
            if "gain" in wanted:
                record["gain"] = gain
            if wanted & {"energy_accuracy", "energy_complexity"}:
                accuracy, complexity = cell.free_energy(steady, past, z, gain, self.values[self.prior])
                record |= {"energy_accuracy": accuracy, "energy_complexity": complexity}
        return {name: record[name] for name in call.record}


def _at(sequence: Tensor, index: Tensor | None) -> Tensor:
    """Entry of each sample's own step of a [B, T, ...]; the last where `index` is None."""
    return sequence[:, -1] if index is None else sequence[torch.arange(len(sequence), device=sequence.device), index]


def mean_over_time(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean of a [B, T, F] over the first `lengths` [B] entries of each sample, or over all."""
    if lengths is None:
        return sequence.mean(1)
    valid = torch.arange(sequence.shape[1], device=sequence.device) < lengths.unsqueeze(1)
    return (sequence * valid.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1)
