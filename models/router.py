"""Thalamic router: nuclei set the volume of the nodes that they target.

``gain_ik = sigmoid(Q_k . K_ik / sqrt(d) - TRN_k + CT_k)`` and ``g_i`` the mean over the nuclei that target i, 1 where
none does.
With ``Q_k = A_k m`` and ``K_ik = B_k [xr_i, xi_i] + C_k p_i`` the product is ``(A_k m) . B_k`` and ``(A_k m) . C_k``,
five numbers per nucleus, against the five numbers (xr_i, xi_i, p_i) of each node: no array [batch, node, nucleus, d] is
ever made.

K nucleus, P reticular partner, N node, d dimension of query and key, Q = 5, or 3 where no key reads a state.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models.cell import modulus
from nfsim.models.kernels import node_gain
from nfsim.models.values import Values
from nfsim.ties import reticular_partners
from nfsim.wiring import Connectome


def cat(tensors: list[Tensor]) -> Tensor:
    """torch.cat over the last axis that returns a single tensor as it is."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=-1)


class Weights(NamedTuple):
    """What `Router.gain` needs, assembled once for a whole sequence."""

    from_means: Tensor
    """(QK + P, 3 per population read): Q query numbers of each nucleus, then the relay of each reticular partner."""
    from_input: Tensor
    """(QK + P, F): the same from the input."""
    bias: Tensor
    """(QK + P,)."""
    inhibition: Tensor
    """(K, P): T >= 0 of the reticular nucleus."""
    feedback: Tensor
    """(K, nodes that feed back): c_k / sqrt(n)."""


class Router:
    """The nuclei that act on some populations.

    Parameters
    ----------
    targets : paths of the populations, in node order.
    nuclei : paths of the nuclei that target any of them.
    """

    def __init__(self, connectome: Connectome, targets: tuple[str, ...], nuclei: tuple[str, ...], values: Values):
        flat, nodes = connectome.network.flat, connectome.nodes
        self.flat, self.values, self.targets, self.nuclei = flat, values, targets, nuclei
        partners = {n: reticular_partners(flat, n) for n in nuclei}
        self.partners = tuple(n for n in flat.nuclei if any(n in p for p in partners.values()))
        self.inhibited_by = {n: tuple(self.partners.index(p) for p in partners[n]) for n in nuclei}
        every = tuple(dict.fromkeys((*nuclei, *self.partners)))
        self.relayed = {
            n: flat.inputs_of(n)
            if flat.nuclei[n].gating == "feedforward"
            else flat.populations_of(flat.nuclei[n].reads, _home(n))
            for n in every
        }
        self.reads = tuple(p for p in flat.populations if any(p in self.relayed[n] for n in every))
        self.feedback = {n: flat.populations_of(flat.nuclei[n].feedback, _home(n)) for n in nuclei}
        self.feeds = tuple(p for p in flat.populations if any(p in paths for paths in self.feedback.values()))
        self.sizes = {path: p.size for path, p in flat.populations.items()}
        self.listens = tuple(dict.fromkeys((*self.reads, *self.feeds)))
        starts = np.cumsum([0, *(self.sizes[p] for p in targets)])
        self.locals = {p: slice(int(a), int(a) + self.sizes[p]) for p, a in zip(targets, starts, strict=False)}
        starts = np.cumsum([0, *(self.sizes[p] for p in self.feeds)])
        self.fed = {p: slice(int(a), int(a) + self.sizes[p]) for p, a in zip(self.feeds, starts, strict=False)}
        self.hears_targets_alone = bool(self.reads) and set(self.listens) <= set(targets)
        self.by_state = any(flat.nuclei[n].gating == "state" for n in nuclei)
        self.numbers = 5 if self.by_state else 3
        self.by_input = any(flat.nuclei[n].gating == "feedforward" for n in every)
        self.features = sum(i.features for i in flat.inputs.values())
        index = nodes.index(targets)
        positions = torch.from_numpy(nodes.positions[index].T.copy()).to(values.dtype)
        self.positions = values.keep(f"{'+'.join(targets)}:positions", positions)
        targeted = torch.zeros(len(nuclei), len(index), dtype=torch.bool)
        for k, n in enumerate(nuclei):
            for path in set(flat.populations_of(flat.nuclei[n].targets, _home(n))) & set(targets):
                local = sum(flat.populations[p].size for p in targets[: targets.index(path)])
                targeted[k, local : local + flat.populations[path].size] = True
        count = targeted.sum(0)
        self.all_gated = bool(count.all())
        key = self.key = "+".join(nuclei) + "@" + "+".join(targets)
        shapes: dict[Any, list[str]] = {}
        for n in nuclei:
            shapes.setdefault((flat.nuclei[n].gating, values[f"{n}:query"].shape), []).append(n)
        self.groups = list(shapes.values())
        self.share = values.keep(f"{key}:share", targeted.to(values.dtype) / count.clamp(min=1))
        self.ungated = values.keep(f"{key}:ungated", (count == 0).to(values.dtype))
        if self.hears_targets_alone:
            share = torch.zeros(len(index), len(self.reads), dtype=values.dtype)
            for column, path in enumerate(self.reads):
                share[self.locals[path], column] = 1 / self.sizes[path]
            values.keep(f"{key}:mean", share)
        if set(self.listens) <= set(targets):
            ranges = [(self.locals[p].start, self.locals[p].stop) for p in self.reads]
            values.keep(f"{key}:ranges", torch.tensor(ranges, dtype=torch.long).view(-1, 2))
        self._index()

    def assemble(self) -> Weights:
        """The query and key weights of all nuclei, contracted over d."""
        v, K, P, Q = self.values, len(self.nuclei), len(self.partners), self.numbers
        by_nucleus: dict[str, Tensor] = {}
        for group in self.groups:
            query = torch.stack([v[f"{n}:query"] for n in group])
            keys = [torch.stack([v[f"{n}:key_{part}"] for n in group]) for part in self._key_parts(group[0])]
            contracted = cat(keys).transpose(1, 2) @ query / math.sqrt(query.shape[1])
            by_nucleus |= zip(group, contracted.unbind(0), strict=True)
        blocks: dict[bool, list[Tensor]] = {True: [], False: []}
        for n in self.nuclei:
            blocks[self._by_state(n)].append(by_nucleus[n].flatten())
        for n in self.partners:
            blocks[self._by_state(n)].append(v[f"{n}:relay"])
        rows = Q * K + P
        bias = v[f"{self.nuclei[0]}:query"].new_zeros(Q * K)
        if self.partners:
            bias = cat([bias, torch.stack([v[f"{n}:relay_bias"] for n in self.partners])])
        reticular = [v[f"{n}:reticular"] for n in self.nuclei if self.inhibited_by[n]]
        feedback = [v[f"{n}:feedback"] / math.sqrt(len(v[f"{n}:feedback"])) for n in self.nuclei if self.feedback[n]]
        return Weights(
            self._place("means", blocks[True], (rows, 3 * len(self.reads))),
            self._place("inputs", blocks[False], (rows, self.features)),
            bias,
            self._place("inhibition", [F.softplus(cat(reticular))] if reticular else [], (K, P)),
            self._place("feedback", feedback, (K, sum(self.sizes[p] for p in self.feeds))),
        )

    def _place(self, name: str, blocks: list[Tensor], shape: tuple[int, int]) -> Tensor:
        """A matrix that holds the blocks at the places that `_index` found, and 0 elsewhere."""
        zeros = self.values[f"{self.nuclei[0]}:query"].new_zeros(shape[0] * shape[1])
        return (zeros.index_copy(0, self.values[f"{self.key}:{name}"], cat(blocks)) if blocks else zeros).view(shape)

    def _index(self) -> None:
        """Keep where every block of `assemble` goes, as flat indices."""
        K, P, Q = len(self.nuclei), len(self.partners), self.numbers
        places: dict[str, list[tuple[Iterable[int], Iterable[int], int]]] = {
            name: [] for name in ("means", "inputs", "inhibition", "feedback")
        }
        for i, n in enumerate((*self.nuclei, *self.partners)):
            state = self._by_state(n)
            rows = range(Q * i + (0 if state else Q - 3), Q * (i + 1)) if i < K else [Q * K + i - K]
            width = 3 * len(self.reads) if state else self.features
            places["means" if state else "inputs"].append((rows, self._columns(n), width))
        for k, n in enumerate(self.nuclei):
            if self.inhibited_by[n]:
                places["inhibition"].append(([k], self.inhibited_by[n], P))
            if self.feedback[n]:
                columns = [c for path in self.feedback[n] for c in self._nodes(path)]
                places["feedback"].append(([k], columns, sum(self.sizes[p] for p in self.feeds)))
        for name, blocks in places.items():
            flat = [row * width + column for rows, columns, width in blocks for row in rows for column in columns]
            self.values.keep(f"{self.key}:{name}", torch.tensor(flat, dtype=torch.long))

    def _by_state(self, nucleus: str) -> bool:
        return self.flat.nuclei[nucleus].gating == "state"

    def _key_parts(self, nucleus: str) -> tuple[str, ...]:
        return ("state", "position") if self._by_state(nucleus) else ("position",)

    def _nodes(self, path: str) -> range:
        """Columns of a population among those that feed back."""
        start = sum(self.sizes[p] for p in self.feeds[: self.feeds.index(path)])
        return range(start, start + self.sizes[path])

    def _columns(self, nucleus: str) -> list[int]:
        """Columns of what a nucleus relays: three means of each population that it reads, or its inputs' features."""
        if self._by_state(nucleus):
            return [3 * self.reads.index(path) + part for path in self.relayed[nucleus] for part in range(3)]
        starts, start = {}, 0
        for path, i in self.flat.inputs.items():
            starts[path] = range(start, start := start + i.features)
        return [c for path in self.relayed[nucleus] for c in starts[path]]

    def relay(self, w: Weights, x: Tensor) -> Tensor:
        """What the input adds to queries and relays [..., QK + P]: it depends on no state."""
        return F.linear(x, w.from_input, w.bias) if self.by_input else w.bias.expand(*x.shape[:-1], -1)

    def route(
        self, w: Weights, relayed: Tensor, states: dict[str, Tensor], whole: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Query [..., K, Q] and shift, CT_k - TRN_k, [..., K] of each nucleus.

        Parameters
        ----------
        relayed : [..., QK + P], of `relay`.
        states : path -> [..., 2, n], previous states of every population that is read or feeds back.
        whole : [..., 2, N], the same of the targets where `hears_targets_alone`: means of all at once.
        """
        K, Q = len(self.nuclei), self.numbers
        if whole is None:
            rates = {path: modulus(states[path]) for path in self.listens}
            means = [torch.cat([states[p].mean(-1), rates[p].mean(-1, keepdim=True)], dim=-1) for p in self.reads]
            m = cat(means) if means else None
        else:
            rate, share = modulus(whole), self.values[f"{self.key}:mean"]
            m = torch.cat([whole @ share, rate.unsqueeze(-2) @ share], dim=-2).transpose(-1, -2).flatten(-2)
            rates = {path: rate[..., self.locals[path]] for path in self.feeds}
        if m is not None:
            relayed = relayed + F.linear(m, w.from_means)
        query, relays = relayed[..., : Q * K].unflatten(-1, (K, Q)), relayed[..., Q * K :]
        shift = (
            F.linear(cat([rates[p] for p in self.feeds]), w.feedback) if self.feeds else None
        )  # CT_k = c_k . rate / sqrt(n)
        if self.partners:
            inhibition = F.linear(torch.relu(relays), w.inhibition)
            shift = -inhibition if shift is None else shift - inhibition
        return query, query.new_zeros(query.shape[:-1]) if shift is None else shift

    def gain(self, query: Tensor, shift: Tensor, z: Tensor | None) -> Tensor:
        """Gain g of each node [..., N], from `route`; z [..., 2, N] is the targets' previous state."""
        rows, positions = query.shape[:-2], self.values[self.positions]
        z = z.reshape(-1, 2, positions.shape[1]) if self.by_state and z is not None else None
        g = node_gain(query.flatten(0, -3), shift.flatten(0, -2), z, positions, self.values[self.share])
        return g.view(*rows, -1) if self.all_gated else g.view(*rows, -1) + self.values[self.ungated]

    def nucleus_gain(self, w: Weights, relayed: Tensor, states: dict[str, Tensor], z: Tensor) -> Tensor:
        """Gain of each nucleus on each node [..., K, N], for a recording: it takes K times the memory of `gain`."""
        query, shift = self.route(w, relayed, states)
        logit = query[..., -3:] @ self.values[self.positions] + shift.unsqueeze(-1)
        return torch.sigmoid(logit + query[..., :2] @ z if self.by_state else logit)

    def mean(self, nucleus_gain: Tensor) -> Tensor:
        """g [..., N] of the gain of each nucleus [..., K, N]."""
        return (nucleus_gain * self.values[self.share]).sum(-2) + self.values[self.ungated]

    def mean_over_targets(self, nucleus_gain: Tensor) -> Tensor:
        """Mean of [..., K, N] over the nodes that each nucleus targets [..., K]."""
        targeted = (self.values[self.share] > 0).to(nucleus_gain)
        return (nucleus_gain * targeted).sum(-1) / targeted.sum(-1)


def _home(nucleus: str) -> str:
    return nucleus.rpartition("/")[0]
