"""A loop stage in one call of `cfc_loop`: gain and coupling are its only ties to its own state, says the compiler."""

import torch
from torch import Tensor

from nfsim.models import cell
from nfsim.models.kernels import LoopCoupling, LoopThalamus, cfc_loop
from nfsim.models.router import Router
from nfsim.models.stage import Run, Stage, cat, total


class Edges:
    """All couplings on the state of a stage as one matrix in compressed sparse rows, over the stage's nodes."""

    def __init__(self, stage: Stage):
        self.stage, self.keys = stage, {}
        starts = dict(zip(stage.paths, torch.tensor([0, *stage.sizes]).cumsum(0).tolist(), strict=False))
        size = dict(zip(stage.paths, stage.sizes, strict=True))

        def local(paths: tuple[str, ...]) -> Tensor:
            return torch.cat([torch.arange(starts[p], starts[p] + size[p]) for p in paths])

        ends = [(local(k.targets)[k.row()], local(k.source)[k.column()]) for k in stage.on_state]
        row, column = (torch.cat(side) for side in zip(*ends, strict=True))
        order = torch.argsort(row, stable=True)
        indptr = torch.cat(
            [torch.zeros(1, dtype=torch.long), torch.bincount(row, minlength=sum(stage.sizes)).cumsum(0)]
        )
        for name, value in (("indptr", indptr), ("indices", column[order]), ("order", order), ("row", row)):
            self.keys[name] = stage.values.keep(f"{stage.key}:fused {name}", value)

    def __call__(self) -> LoopCoupling:
        """The coupling of this moment's parameters."""
        v = self.stage.values
        weight = cat([k.scaled_edges() for k in self.stage.on_state])
        degree = weight.new_zeros(sum(self.stage.sizes)).index_add(0, v[self.keys["row"]], weight)
        return LoopCoupling(v[self.keys["indptr"]], v[self.keys["indices"]], weight[v[self.keys["order"]]], degree)


def run_fused(stage: Stage, edges: Edges | None, run: Run) -> None:
    """All ticks in one call; the drive of the whole sequence is known before."""
    c, u = stage.constants(), stage.outer_drive(run)
    pull = stage.couple(stage.on_drive, [k.weights() for k in stage.on_drive], stage.split(u))
    last_only = not (stage.state_is_heard or run.keeps_states)
    dt = run.dt.squeeze(-1) if isinstance(run.dt, Tensor) else run.dt
    z = cfc_loop(
        total([u, pull]).flatten(-2),
        cat([run.start[p] for p in stage.paths]).flatten(-2),
        rate=c.rate,
        bias=c.rate_bias,
        gate=stage.dynamics[0].rate,
        dt=dt,
        rotation=cell.rotation(c.omega, run.dt).flatten(-2) if stage.turns else None,
        limit=stage.values[stage.inverse_square],
        thalamus=_thalamus(stage, run),
        coupling=edges() if edges else None,
        final=last_only,
    ).unflatten(-1, (2, -1))
    run.last |= stage.split(z if last_only else z[:, -1])
    if not last_only:
        run.z |= stage.split(z)
    if stage.drive_is_heard or run.keeps_drive:
        run.u |= stage.split(u)
    if run.keeps_drive:
        run.v |= stage.split(_sums(stage, run, u, pull))


def _thalamus(stage: Stage, run: Run) -> LoopThalamus | None:
    router, v = stage.router, stage.values
    if router is None:
        return None
    assert isinstance(router, Router)  # nuclei of other forms are not fused
    w = router.assemble()
    feedback = None
    if router.feeds:
        nothing = {p: w.feedback.new_zeros(len(w.feedback), n) for p, n in zip(stage.paths, stage.sizes, strict=True)}
        feedback = cat([w.feedback[:, router.fed[p]] if p in router.fed else nothing[p] for p in stage.paths])
    return LoopThalamus(
        relayed=run.hold(router.relay(w, run.x)) if router.by_input else w.bias,
        from_means=w.from_means,
        ranges=v[f"{router.key}:ranges"],
        inhibition=w.inhibition,
        feedback=feedback,
        shift=None,
        positions=v[router.positions],
        share=v[router.share],
        ungated=v[router.ungated],
        at_time=v[stage.gain_at["time"]],
        at_drive=v[stage.gain_at["drive"]],
        at_coupling=v[stage.gain_at["coupling"]],
    )


def _sums(stage: Stage, run: Run, u: Tensor, pull: Tensor | None) -> Tensor:
    """What the limiter of every tick acted on, from the states before: for a record."""
    before = {p: run.previous(p) for p in stage.paths}
    whole = cat([before[p] for p in stage.paths])
    gain = stage.router.gain(*stage.route(run), whole) if stage.router else None
    F = stage.couple(stage.on_state, [k.weights() for k in stage.on_state], before, whole)
    return total([stage.scaled("drive", u, gain), stage.scaled("coupling", F, gain), pull])
