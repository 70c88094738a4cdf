"""A loop stage, tick after tick in torch: on any device, for any declaration."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models import cell
from nfsim.models.stage import ByPath, Constants, Run, Stage, add, cat, total


def run_ticks(stage: Stage, run: Run) -> None:
    """Step through time; everything that does not depend on the state is computed for all ticks before."""
    c, outer = stage.constants(), stage.outer_drive(run)
    step = _Tick(stage, run, c)
    z = cat([run.start[p] for p in stage.paths])
    states, drives, sums = [], [], []
    for k, u in enumerate(outer.unbind(1)):
        z, u, v = step(k, z, u)
        states.append(z)
        drives.append(u)
        sums.append(v)
    step.memories.keep(run)
    run.last |= stage.split(z)
    run.z |= stage.split(torch.stack(states, dim=1))
    if stage.drive_is_heard or run.keeps_drive:
        run.u |= stage.split(torch.stack(drives, dim=1))
    if run.keeps_drive:
        run.v |= stage.split(torch.stack(sums, dim=1))


class _Tick:
    """One tick of a loop stage, with all that is the same for every tick held ready."""

    def __init__(self, stage: Stage, run: Run, c: Constants):
        self.stage, self.c = stage, c
        self.w = stage.router.assemble() if stage.router else None
        self.memories = _Memories(stage, run)
        self.mixing = stage.attention.assemble() if stage.attention else None
        self.weights = [d.weight() for d in stage.inner]
        self.on_state = [k.weights() for k in stage.on_state]
        self.on_drive = [k.weights() for k in stage.on_drive]
        self.relayed = run.hold(stage.router.relay(self.w, run.x)).unbind(1) if stage.router else None
        earlier = set(run.z)
        listens = {p for d in stage.inner for p in d.source} | {p for k in stage.on_state for p in k.source}
        listens |= set(stage.attention.listens if stage.attention else ())
        before = listens | set(stage.router.listens if stage.router else ())
        self.before = {p: run.previous(p).unbind(1) for p in before & earlier}
        self.now = {p: run.z[p].unbind(1) for p in {p for d in stage.inner for p in d.source} & earlier}
        self.u_now = {p: run.u[p].unbind(1) for p in {p for k in stage.on_drive for p in k.source} & set(run.u)}
        self.dt = run.dt.unbind(1) if isinstance(run.dt, Tensor) else None
        self.turns = [cell.rotation(c.omega, dt) for dt in self.dt or (run.dt,)]
        self.one_dt = run.dt
        self.inverse_ceiling = (
            stage.values[stage.inverse_ceiling] if any(d.limiter == "clamp" for d in stage.dynamics) else None
        )
        self.t = stage.update_rate(c, None, run.dt) if stage.router is None else None

    def __call__(self, k: int, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1) regional means, (2) gain, (3) coupling, (4) steady state, (5) update rate, (6) new state."""
        stage = self.stage
        states = {p: s[k] for p, s in self.before.items()} | stage.split(z)
        gain = None
        if stage.router and self.relayed:
            whole = z if stage.router.hears_targets_alone else None
            gain = stage.router.gain(*stage.router.route(self.w, self.relayed[k], states, whole), z)
        pull = stage.couple(stage.on_state, self.on_state, states, z)
        if stage.fast:
            pull = add(pull, self.memories.pull(states))
        if stage.inner:
            u = self._driven(k, u, states)
        if stage.attention and self.mixing:
            u = u + stage.attention.message(self.mixing, states, z)
        if stage.on_drive:
            drives = {p: s[k] for p, s in self.u_now.items()} | stage.split(u)
            pull = add(pull, stage.couple(stage.on_drive, self.on_drive, drives))
        v = total([stage.scaled("drive", u, gain), stage.scaled("coupling", pull, gain)])
        s = cell.limit(v, stage.values[stage.inverse_square])
        if stage.memory:
            v = self.memories.remember(z, u, s, v)
            s = cell.limit(v, stage.values[stage.inverse_square])
        self.memories.end(k)
        t = self._rate(k, gain)
        z = cell.cfc_update(z, s, t, self.turns[k if self.dt else 0])
        return (z if self.inverse_ceiling is None else cell.clamp(z, self.inverse_ceiling)), u, v

    def _rate(self, k: int, gain: Tensor | None) -> Tensor:
        if self.t is not None:
            return self.t[:, k] if self.t.dim() > 1 else self.t
        return self.stage.update_rate(self.c, gain, self.dt[k] if self.dt else self.one_dt)

    def _driven(self, k: int, u: Tensor, states: ByPath) -> Tensor:
        """The drive with what populations of this stage add from their last state, and earlier ones from this tick."""
        y = states | {p: s[k] for p, s in self.now.items()}
        parts = self.stage.split(u)
        for d, weight in zip(self.stage.inner, self.weights, strict=True):
            added = F.linear(d.hidden(d.read(cat([y[p] for p in d.source]))), weight).unflatten(-1, (2, -1))
            parts[d.target] = parts[d.target] + added
        return cat(list(parts.values()))


class _Memories:
    """What a loop stage carries from tick to tick beside z: gated memory c, and the fast weights of its couplings."""

    def __init__(self, stage: Stage, run: Run):
        self.stage, self.run = stage, run
        self.gates = stage.memory.gates() if stage.memory else None
        self.rules = [fast.rule() for fast in stage.fast]
        self.now: list[Tensor] = [fast.own(run.fast[fast.name]) for fast in stage.fast]
        if stage.memory:
            none = {p: torch.zeros_like(run.start[p]) for p in stage.paths}
            self.now.append(cat([run.memory.get(p, none[p]) for p in stage.paths]))
        self.kept = list(self.now)
        """The same, held from each sample's last tick on."""

    def pull(self, states: ByPath) -> Tensor:
        """F of the fast weights [B, 2, N], which follow the state before the tick first."""
        by_path: ByPath = {}
        for i, (fast, rule) in enumerate(zip(self.stage.fast, self.rules, strict=True)):
            c = fast.coupling
            source, target = (cat([states[p] for p in paths]) for paths in (c.source, c.targets))
            self.now[i], pull = fast.step(rule, self.now[i], source, target)
            for p, part in zip(c.targets, pull.split([states[p].shape[-1] for p in c.targets], dim=-1), strict=True):
                by_path[p] = part if p not in by_path else by_path[p] + part
        return cat([by_path[p] if p in by_path else torch.zeros_like(states[p]) for p in self.stage.paths])

    def remember(self, z: Tensor, u: Tensor, s: Tensor, v: Tensor) -> Tensor:
        """What the limiter of the update acts on: the memory c of this tick where there is one, v elsewhere."""
        assert self.stage.memory is not None
        assert self.gates is not None
        self.now[-1] = self.stage.memory.update(self.gates, self.now[-1], z, u, s)
        return self.stage.memory.target(self.now[-1], v)

    def end(self, k: int) -> None:
        """Hold what the samples that tick k is not past the end of have now."""
        if self.run.ends is None:
            return
        runs = self.run.ends >= k
        for i, (new, old) in enumerate(zip(self.now, self.kept, strict=True)):
            self.kept[i] = torch.where(runs.view(-1, *[1] * (new.dim() - 1)), new, old)

    def keep(self, run: Run) -> None:
        """Leave what was carried for the next call."""
        last = self.now if run.ends is None else self.kept
        for fast, W in zip(self.stage.fast, last, strict=False):
            run.fast[fast.name] = fast.give(run.fast[fast.name], W)
        if self.stage.memory:
            parts = self.stage.split(last[-1])
            run.memory |= {p: c for p, c in parts.items() if self.stage.memory.remembers[p]}
