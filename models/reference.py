"""The reference backend: the equations of the model written out in float64 and complex numbers, one tick after another.

It shares names and values with the torch backend and nothing of its schedule, layout or factorisations, so that the two
can be held against each other. Read it beside the table of equations.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import networkx
import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.compiler.program import Program
from nfsim.models import guard
from nfsim.models import reference_forms as forms
from nfsim.models.model import AbstractModel, Call, Output
from nfsim.population import Nucleus

EPS = 1e-6
C = torch.complex128
ACTIVATION: dict[str | None, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "tanh": torch.tanh,
    None: lambda x: x,
}


def modulus(z: Tensor) -> Tensor:
    """|z| = sqrt(xr^2 + xi^2 + eps^2)."""
    return torch.sqrt(z.real**2 + z.imag**2 + EPS**2)


def limit(v: Tensor, amplitude: float) -> Tensor:
    """v / sqrt(1 + |v|^2 / A^2)."""
    return v / torch.sqrt(1 + (v.real**2 + v.imag**2) / amplitude**2)


def _entries(matrix: Any) -> Tensor:
    """Where a scipy.sparse matrix has entries, dense."""
    pattern = torch.zeros(matrix.shape, dtype=torch.bool)
    pattern[matrix.row, matrix.col] = True
    return pattern


class ReferenceModel(AbstractModel):
    """A network in float64, for checking. States are dictionaries path -> complex [batch, n]."""

    def __init__(self, program: Program):
        super().__init__(program, torch.float64)
        flat = self.network.flat
        self.flat, nodes = flat, program.connectome.nodes
        self.p = {path: torch.from_numpy(nodes.positions[s].copy()) for path, s in nodes.slices.items()}
        self.sector = {path: torch.from_numpy(nodes.sectors[s].copy()) for path, s in nodes.slices.items()}
        self.K_pattern = {name: _entries(m.tocoo()) for name, m in program.connectome.matrices.items()}
        graph = self._loops()
        self.same_loop = {
            (a, b): a == b or (networkx.has_path(graph, a, b) and networkx.has_path(graph, b, a))
            for a in flat.populations
            for b in flat.populations
        }
        drives = networkx.DiGraph((a, b) for a, b in graph.edges if not self.same_loop[a, b])
        drives.add_nodes_from(flat.populations)
        self.order = list(networkx.topological_sort(drives))

    def _loops(self) -> networkx.DiGraph:
        """Which population's state each population's next state depends on, read off the equations below."""
        flat, graph = self.flat, networkx.DiGraph()
        graph.add_nodes_from(flat.populations)
        for name in flat.projections:
            graph.add_edges_from((s, t) for s in flat.source(name) for t in flat.target(name) if s in flat.populations)
        for k, n in flat.nuclei.items():
            home = k.rpartition("/")[0]
            beside = [l for l in flat.nuclei.values() if n.trn and l.trn and l in self._nuclei_of(home)]
            heard = set(flat.populations_of(n.feedback, home))
            for l in (n, *beside):
                heard |= set(flat.populations_of(l.reads, home)) if l.gating in ("state", "attention") else set()
            felt = {
                p for p in flat.populations_of(n.targets, home) if set(flat.populations[p].dynamics.gain) - {"readout"}
            }
            if n.gating == "attention":
                felt = set(flat.populations_of(n.targets, home))
                heard |= felt
            graph.add_edges_from((s, t) for s in heard for t in felt)
        return graph

    def _nuclei_of(self, home: str) -> list[Nucleus]:
        return [n for k, n in self.flat.nuclei.items() if k.rpartition("/")[0] == home]

    def run(self, call: Call) -> Output:
        """Tick by tick; each input step is held for `ticks` ticks."""
        flat, ticks, (B, T, _) = self.flat, self.network.ticks, call.x.shape
        z, carried = self._start(call, B), forms.start(self, call.carried, B)
        length = torch.full((B,), T) if call.lengths is None else call.lengths
        history: list[dict[str, Tensor]] = []
        features, final, kept_back = [], z, carried
        for k in range(T * ticks):
            x, dt = call.x[:, k // ticks], call.dt if isinstance(call.dt, float) else call.dt[:, k // ticks, None]
            z, carried, kept = self._tick(x, z, carried, dt / ticks)
            history.append(kept)
            features.append(self._features(z, x))
            running = (k // ticks < length)[:, None]
            final = {path: torch.where(running, z[path], final[path]) for path in z}
            kept_back = {name: torch.where(running, carried[name], kept_back[name]) for name in carried}
        if self.guard:
            for path, nodes in self.program.connectome.nodes.slices.items():
                guard.look(path, torch.stack([kept["z"] for kept in history], 1)[..., nodes], ticks)
        whole = torch.cat([final[path] for path in flat.populations], dim=-1)
        record = {}
        for name in call.record:
            steps = [
                kept[name] if name != "logits" else self._logits(f) for kept, f in zip(history, features, strict=True)
            ]
            record[name] = torch.stack(steps, dim=1)
        state = {"xr": whole.real, "xi": whole.imag} | forms.end(self, kept_back, B)
        return Output(self._read(features, length, ticks), state, record)

    def _start(self, call: Call, batch: int) -> dict[str, Tensor]:
        z, first = {}, 0
        for path, p in self.flat.populations.items():
            if call.start is not None:
                part = call.start[:, :, first : (first := first + p.size)]
            elif f"{path}:initial" in self.values:
                part = self.values[f"{path}:initial"].expand(batch, 2, p.size)
            else:
                part = torch.zeros(batch, 2, p.size, dtype=torch.float64)
            z[path] = torch.complex(part[:, 0], part[:, 1])
        return z

    def _tick(
        self, x: Tensor, z: dict[str, Tensor], carried: dict[str, Tensor], dt: Tensor | float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """(1) regional means, (2) gain, (3) coupling of the last state, (4) steady state, (5) rate, (6) new state."""
        flat, v = self.flat, self.values
        nucleus_gain, g = self._gain(x, z)
        message = forms.attention_messages(flat, v, z, self._means(z), self.p)
        carried = carried | {
            name: forms.fast_weights(flat, v, name, carried[name], z, self.K_pattern[name]) for name in self.fast_edges
        }
        new: dict[str, Tensor] = {}
        u: dict[str, Tensor] = {}
        pending = list(self.order)
        while pending:
            loop = [path for path in pending if self.same_loop[path, pending[0]]]
            pending = [path for path in pending if path not in loop]
            for path in loop:
                u[path] = self._drive(path, x, z, new) + message[path]
            for path in loop:
                d = flat.populations[path].dynamics
                s = u[path] * (g[path] if "drive" in d.gain else 1)
                s = s + self._coupling(path, z, u, carried) * (g[path] if "coupling" in d.gain else 1)
                limiter = functools.partial(limit, amplitude=d.amplitude if d.limiter == "amplitude" else math.inf)
                s = limiter(s)
                if d.memory == "gated":
                    carried[path] = forms.gated_memory(v, path, carried[path], z[path], u[path], s)
                    s = limiter(carried[path])
                lam = F.softplus(v[f"{path}:rate"])
                rate = (g[path] if "time" in d.gain else 1) * lam * dt / d.tau
                t = torch.sigmoid(rate + v[f"{path}:rate_bias"]) if d.rate == "sigmoid" else 1 - torch.exp(-rate)
                turn = torch.exp(1j * v[f"{path}:omega"] * dt)
                new[path] = (1 - t) * turn * z[path] + t * s
                if d.limiter == "clamp":
                    new[path] = new[path] * torch.clamp(d.amplitude / modulus(new[path]), max=1)
                u[path + " steady"] = s
        return new, carried, self._kept(z, new, u, g, nucleus_gain)

    def _means(self, z: dict[str, Tensor]) -> dict[str, Tensor]:
        """m: mean xr, xi and |z| of each population [batch, 3]."""
        parts = {p: (z[p].real, z[p].imag, modulus(z[p])) for p in z}
        return {p: torch.cat([part.mean(-1, True) for part in parts[p]], -1) for p in z}

    def _gain(self, x: Tensor, z: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """gain_ik = sigmoid(Q_k . K_ik / sqrt(d) - TRN_k + CT_k) by nucleus, over its targets; g_i by population."""
        flat, v = self.flat, self.values
        m, heard, home = self._means(z), {}, {}
        for k, n in flat.nuclei.items():
            home[k] = k.rpartition("/")[0]
            if n.gating == "feedforward":
                per_input = dict(
                    zip(flat.inputs, x.split([i.features for i in flat.inputs.values()], dim=-1), strict=True)
                )
                heard[k] = torch.cat([per_input[i] for i in flat.inputs_of(k)], -1)
            else:
                heard[k] = torch.cat([m[p] for p in flat.populations_of(n.reads, home[k])], -1)
        gain: dict[str, Tensor] = {}
        by_target: dict[str, list[Tensor]] = {path: [] for path in z}
        for k, n in flat.nuclei.items():
            targets = flat.populations_of(n.targets, home[k])
            if n.gating == "attention":  # it mixes into the drive, and leaves the volume alone
                gain[k] = torch.cat([torch.ones_like(z[path].real) for path in targets], -1)
                continue
            if n.gating == "ambassador":
                for path in targets:
                    by_target[path].append(forms.ambassador_gain(v, k, path, z[path], self.sector[path]))
                gain[k] = torch.cat([by_target[path][-1] for path in targets], -1)
                continue
            Q = heard[k] @ v[f"{k}:query"].T
            others = [l for l in flat.nuclei if l != k and home[l] == home[k] and flat.nuclei[l].trn and n.trn]
            TRN = torch.zeros(len(x), 1, dtype=torch.float64)
            for position, l in enumerate(others):
                relay = heard[l] @ v[f"{l}:relay"] + v[f"{l}:relay_bias"]
                TRN = TRN + F.softplus(v[f"{k}:reticular"][position]) * torch.relu(relay)[:, None]
            CT = torch.zeros(len(x), 1, dtype=torch.float64)
            if n.feedback:
                rates = torch.cat([modulus(z[p]) for p in flat.populations_of(n.feedback, home[k])], -1)
                CT = (rates @ v[f"{k}:feedback"] / math.sqrt(rates.shape[-1]))[:, None]
            for path in targets:
                K = self.p[path] @ v[f"{k}:key_position"].T  # [node, d]
                if n.gating == "state":
                    K = K + torch.stack([z[path].real, z[path].imag], -1) @ v[f"{k}:key_state"].T  # [batch, node, d]
                by_target[path].append(torch.sigmoid((K * Q[:, None]).sum(-1) / math.sqrt(n.key) - TRN + CT))
            gain[k] = torch.cat([by_target[path][-1] for path in targets], -1)
        ones = torch.ones(len(x), 1, dtype=torch.float64)
        return gain, {
            path: sum(gs[1:], gs[0]) / len(gs) if gs else ones.expand(-1, z[path].shape[-1])
            for path, gs in by_target.items()
        }

    def _drive(self, path: str, x: Tensor, z: dict[str, Tensor], new: dict[str, Tensor]) -> Tensor:
        """u_i = (W y + b)_i exp(i phi_i); a source of the same loop is heard a tick late."""
        flat, v, n = self.flat, self.values, self.flat.populations[path].size
        total = v[f"{path}:drive_bias"].expand(len(x), -1)
        for name, p in flat.projections.items():
            if p.kind != "drive" or path not in flat.target(name):
                continue
            source = flat.source(name)
            if source[0] in flat.inputs:
                per_input = dict(
                    zip(flat.inputs, x.split([i.features for i in flat.inputs.values()], dim=-1), strict=True)
                )
                y = per_input[source[0]]
                power = y.square().mean(-1, keepdim=True)
            else:
                heard = torch.cat([z[s] if self.same_loop[s, path] else new[s] for s in source], -1)
                y = modulus(heard) if p.signal == "rate" else torch.cat([heard.real, heard.imag], -1)
                power = (modulus(heard) ** 2 if p.signal == "rate" else heard.abs() ** 2).mean(-1, keepdim=True)
            if p.normalise:
                y = y / torch.sqrt(power + 1e-5)
            if p.rank is None:
                y = F.dropout(y, p.dropout, self.training)
            weight = v[f"{name}:{path}:weight"]
            scale = v[f"{name}:scale"] if p.learnable == "scale" else 1
            if p.rank is not None:
                h = y @ v[f"{name}:hidden"].T + (v[f"{name}:hidden_bias"] if p.activation else 0)
                h = F.dropout(ACTIVATION[p.activation](h), p.dropout, self.training)
                total = total + scale * h @ weight.T
                continue
            before = sum(flat.populations[q].size for q in flat.target(name)[: flat.target(name).index(path)])
            pattern = self.K_pattern[name][before : before + n]
            signed = p.sign * (scale * weight).abs() if p.sign else scale * weight
            out, parts = weight.shape[:2]
            W = torch.zeros(out, n, parts, pattern.shape[1], dtype=torch.float64)
            for o in range(out):
                for q in range(parts):
                    W[o, :, q] = torch.zeros(pattern.shape, dtype=torch.float64).masked_scatter(pattern, signed[o, q])
            total = total + y @ W.reshape(out * n, -1).T
        if f"{path}:phase" in v:
            return total * torch.exp(1j * v[f"{path}:phase"])
        return torch.complex(total[:, :n], total[:, n:])

    def _coupling(self, path: str, z: dict[str, Tensor], u: dict[str, Tensor], carried: dict[str, Tensor]) -> Tensor:
        """F_i = sum_j (K_ij + W_ij) (z_j - z_i), or of u for a coupling on the drive."""
        flat, v = self.flat, self.values
        total = torch.zeros_like(z[path])
        for name, p in flat.projections.items():
            if p.kind != "coupling" or path not in flat.target(name):
                continue
            y = z if p.on == "state" else u
            K = torch.zeros(self.K_pattern[name].shape, dtype=torch.float64).masked_scatter(
                self.K_pattern[name], v[f"{name}:edges"]
            )
            if p.learnable == "scale":
                K = K * v[f"{name}:scale"]
            if p.sign is not None:
                K = p.sign * K.abs()
            before = sum(flat.populations[q].size for q in flat.target(name)[: flat.target(name).index(path)])
            if name in carried:
                every = self.K_pattern[name].expand(len(z[path]), -1, -1)
                K = K + torch.zeros(every.shape, dtype=torch.float64).masked_scatter(every, carried[name])
            K = K[..., before : before + flat.populations[path].size, :].to(C)
            source = torch.cat([y[s] for s in flat.source(name)], -1)
            total = total + (K * (source[:, None, :] - y[path][:, :, None])).sum(-1)
        return total

    def _kept(
        self,
        z: dict[str, Tensor],
        new: dict[str, Tensor],
        u: dict[str, Tensor],
        g: dict[str, Tensor],
        gain: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Everything that can be recorded, of one tick, over all nodes."""
        paths = list(self.flat.populations)
        s = {path: u[path + " steady"] for path in paths}
        accuracy, complexity = [], []
        for path in paths:
            v0 = self.flat.populations[path].dynamics.prior_variance
            pi = torch.clamp(g[path], min=1e-3)
            accuracy.append(pi * (s[path] - z[path]).abs() ** 2 / 2 - torch.log(pi))
            complexity.append(new[path].abs() ** 2 / (2 * v0) + 1 / (pi * v0) - 1 + torch.log(pi * v0))
        means = [x.mean(-1) for x in gain.values()]
        return {
            "z": torch.cat([new[path] for path in paths], -1),
            "steady": torch.cat([s[path] for path in paths], -1),
            "drive": torch.cat([u[path] for path in paths], -1),
            "gain": torch.cat([g[path] for path in paths], -1),
            "nucleus_gain": torch.stack(means, -1) if means else torch.zeros(len(s[paths[0]]), 0, dtype=torch.float64),
            "energy_accuracy": torch.cat(accuracy, -1),
            "energy_complexity": torch.cat(complexity, -1),
        }

    def _features(self, z: dict[str, Tensor], x: Tensor) -> Tensor:
        """rate_i * gain_i of the populations read, with the gain evaluated once more at z."""
        ((_, r),) = self.flat.readouts.items()
        _, g = self._gain(x, z)
        reads = self.flat.populations_of(r.reads)
        volume = {
            p: g[p] if "readout" in self.flat.populations[p].dynamics.gain else torch.ones_like(g[p]) for p in reads
        }
        parts = [torch.cat([modulus(z[p]) * volume[p] for p in reads], -1)]
        if r.kind == "state":
            heard = torch.cat([z[p] * volume[p] for p in reads], -1)
            parts = [heard.real, heard.imag, *parts]
        if r.normalise:
            parts = [y / torch.sqrt(y.square().mean(-1, keepdim=True) + 1e-5) for y in parts]
        return torch.cat(parts, -1)

    def _logits(self, features: Tensor) -> Tensor:
        ((path, r),) = self.flat.readouts.items()
        features = F.dropout(features, r.dropout, self.training)
        if r.kind == "sector":
            sector = self.sector[self.flat.populations_of(r.reads)[0]]
            means = [features[..., sector == c].mean(-1) for c in range(len(self.labels))]
            return torch.stack(means, -1) * self.values[f"{path}:scale"]
        return features @ self.values[f"{path}:weight"].T + self.values[f"{path}:bias"]

    def _read(self, features: list[Tensor], length: Tensor, ticks: int) -> Tensor:
        """Logits of the last step, of the mean over ticks, or of each step."""
        ((_, r),) = self.flat.readouts.items()
        per_tick = torch.stack(features, 1)
        if r.when == "each":
            return self._logits(per_tick[:, ticks - 1 :: ticks])
        samples = [f[: n * ticks] for f, n in zip(per_tick, length.tolist(), strict=True)]
        return self._logits(torch.stack([f.mean(0) if r.when == "mean" else f[-1] for f in samples]))
