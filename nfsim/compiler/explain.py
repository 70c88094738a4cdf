"""A program as text: what runs, how, why, with how many parameters and at what cost."""

from collections.abc import Iterator

from nfsim.compiler.costs import ledger, stability, work
from nfsim.compiler.program import FUSED, TICKS, Program, Stage, listing
from nfsim.population import GATINGS


def explain(program: Program, device: str = "cpu") -> str:
    """Stages with their shapes, kernels and reasons, cost and stability, then the parameter ledger."""
    network, flat = program.connectome.network, program.connectome.network.flat
    features = ", ".join(f"{path} {i.features}" for path, i in flat.inputs.items())
    rows = [
        repr(network),
        f"digest {network.digest()[:12]}, step {network.dt:g} {network.time_unit}, {network.ticks} tick(s) per step",
        "",
        f"input     [batch, time, {sum(i.features for i in flat.inputs.values())}]: {features}",
    ]
    for i, stage in enumerate(program.stages):
        rows += [
            f"stage {i}   {stage.schedule}: {', '.join(f'{p} [{flat.populations[p].size}]' for p in stage.populations)}"
        ]
        rows += [f"            {row}" for row in _stage(program, i, stage, device)]
    ((path, r),) = flat.readouts.items()
    assert not isinstance(r.labels, int)  # a readout turns a number into names
    reads = ", ".join(flat.populations_of(r.reads))
    rows += [f"readout   {path}: {r.kind} of {reads}, {r.when} step(s), {len(r.labels)} labels"]
    against = [f"as a sequence of one: {reason}" for reason in program.against_streaming]
    rows += [f"step      {how}" for how in against or ["one call on the CPU, without gradients"]]
    rows.append("")
    counts = ledger(program)
    rows += [f"parameters  {name:<16}{count:>10,}" for name, count in counts.items()]
    rows.append(f"            {'total':<16}{sum(counts.values()):>10,}")
    return "\n".join(rows)


def _stage(program: Program, index: int, stage: Stage, device: str) -> Iterator[str]:
    connectome, flat = program.connectome, program.connectome.network.flat
    if stage.kernel == FUSED and device != "cpu":
        yield f"{'kernel':<11} {TICKS}"
        yield f"{'not fused':<11} cfc_loop is written for the CPU, and the model is on {device}"
    else:
        yield f"{'kernel':<11} {stage.kernel}"
    for reason in stage.refused:
        yield f"{'not fused':<11} {reason}"
    for reason in stage.reasons:
        yield f"{'because':<11} {reason}"
    for name in stage.drives:
        p, edges = flat.projections[name], connectome.matrices[name].nnz
        parts = [
            f"rank {p.rank}" if p.rank else f"{edges:,} edges",
            p.activation,
            "normalised" if p.normalise else None,
            f"dropout {p.dropout:g}" if p.dropout else None,
        ]
        yield f"{'drive':<11} {name}: {', '.join(filter(None, parts))}"
    for name in stage.couplings:
        p, edges = flat.projections[name], connectome.matrices[name].nnz
        kernel = stage.coupling_kernels[name]
        yield f"{'coupling':<11} {name}: {edges:,} edges on the {p.on}, learns {p.learnable}, {kernel}"
    for gating in GATINGS:
        if nuclei := [n for n in stage.nuclei if flat.nuclei[n].gating == gating]:
            trn = sum(flat.nuclei[n].trn for n in nuclei)
            feedback = sum(bool(flat.nuclei[n].feedback) for n in nuclei)
            with_terms = f", {trn} with TRN, {feedback} with CT feedback" if gating in ("state", "feedforward") else ""
            yield f"{'mixing' if gating == 'attention' else 'gain':<11} {gating}: {listing(tuple(nuclei))}{with_terms}"
    if gated := tuple(p for p in stage.populations if flat.populations[p].dynamics.memory == "gated"):
        yield f"{'memory':<11} gated: {listing(gated)}"
    if hebbian := tuple(n for n in stage.couplings if flat.projections[n].memory == "hebbian"):
        yield f"{'memory':<11} Hebbian: {listing(hebbian)}"
    flop, moved = work(program, index)
    yield f"{'cost':<11} {flop:,} FLOP, {moved:,} bytes per tick and sample"
    t, radius, growth, exact = stability(program, index)
    if radius:
        rho = f"rho(L) {'=' if exact else '<='} {radius:.3g}"
        # an eigenvalue below -1 grows whatever the radius; what settles with the largest t does with smaller ones too
        settles = growth < 1
        verdict = "settles" if settles else "may not settle: lower the coupling's weight or the rate's bias"
        yield f"{'stability':<11} t (1 + rho(L)) = {t * (1 + radius):.3g} with t = {t:.3g}, {rho}: {verdict}"
