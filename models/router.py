"""Thalamic router: nuclei set the volume of the nodes that they target.

``gain_ik = sigmoid(Q_k . K_ik / sqrt(d) - TRN_k + CT_k)`` and ``g_i`` the mean over the nuclei that target i, 1 where none does.
With ``Q_k = A_k m`` and ``K_ik = B_k [xr_i, xi_i] + C_k p_i`` the product is ``(A_k m) . B_k`` and ``(A_k m) . C_k``, five numbers per
nucleus, against the five numbers (xr_i, xi_i, p_i) of each node: no array [batch, node, nucleus, d] is ever made.

K nucleus, N node, R relayed value, d dimension of query and key.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.compiler.schedule import reticular_partners
from nfsim.models.cell import modulus
from nfsim.models.values import Values
from nfsim.wiring import Connectome


def regional_means(z: Tensor) -> Tensor:
    """Means m of (xr, xi, |z|) over the nodes of a population's state [..., 2, N], as [..., 3]."""
    return torch.cat([z.mean(-1), modulus(z).mean(-1, keepdim=True)], dim=-1)


class Weights(NamedTuple):
    """What `Router.gain` needs, assembled once for a whole sequence."""

    from_means: Tensor
    """(5K + P, 3 per population read): five query numbers of each nucleus, then the relay of each reticular partner."""
    from_input: Tensor
    """(5K + P, F): the same from the input."""
    bias: Tensor
    """(5K + P,)."""
    inhibition: Tensor
    """(K, P): T >= 0 of the reticular nucleus."""
    feedback: tuple[Tensor | None, ...]
    """Per nucleus: c_k / sqrt(n) over the nodes that feed back."""


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
        self.listens = tuple(dict.fromkeys((*self.reads, *(p for paths in self.feedback.values() for p in paths))))
        self.by_state = any(flat.nuclei[n].gating == "state" for n in nuclei)
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
        self.everywhere = bool(targeted.all())
        key = "+".join(nuclei) + "@" + "+".join(targets)
        self.share = values.keep(f"{key}:share", targeted.to(values.dtype) / count.clamp(min=1))
        self.ungated = values.keep(f"{key}:ungated", (count == 0).to(values.dtype))

    def assemble(self) -> Weights:
        """The query and key weights of all nuclei, contracted over d."""
        v, K, P = self.values, len(self.nuclei), len(self.partners)
        any_query = v[f"{self.nuclei[0]}:query"]
        means, inputs = (
            any_query.new_zeros(5 * K + P, 3 * len(self.reads)),
            any_query.new_zeros(5 * K + P, self.features),
        )
        bias = any_query.new_zeros(5 * K + P)
        blocks: list[tuple[slice, str, Tensor]] = []
        for k, n in enumerate(self.nuclei):
            query, state = v[f"{n}:query"], self.flat.nuclei[n].gating == "state"
            keys = [v[f"{n}:key_state"], v[f"{n}:key_position"]] if state else [v[f"{n}:key_position"]]
            first = 5 * k + (0 if state else 2)
            contracted = torch.cat(keys, dim=1).T @ query / math.sqrt(query.shape[0])
            blocks.append((slice(first, 5 * k + 5), n, contracted))
        for p, n in enumerate(self.partners):
            row = slice(5 * K + p, 5 * K + p + 1)
            blocks.append((row, n, v[f"{n}:relay"][None]))
            bias[row] = v[f"{n}:relay_bias"]
        for rows, n, block in blocks:
            state = self.flat.nuclei[n].gating == "state"
            (means if state else inputs)[rows, self._columns(n)] = block
        inhibition = any_query.new_zeros(K, P)
        for k, n in enumerate(self.nuclei):
            if self.inhibited_by[n]:
                inhibition[k, list(self.inhibited_by[n])] = F.softplus(v[f"{n}:reticular"])
        feedback = tuple(
            v[f"{n}:feedback"] / math.sqrt(v[f"{n}:feedback"].numel()) if self.feedback[n] else None
            for n in self.nuclei
        )
        return Weights(means, inputs, bias, inhibition, feedback)

    def _columns(self, nucleus: str) -> list[int]:
        columns: list[int] = []
        if self.flat.nuclei[nucleus].gating == "state":
            for path in self.relayed[nucleus]:
                first = 3 * self.reads.index(path)
                columns += range(first, first + 3)
            return columns
        start = 0
        for path, i in self.flat.inputs.items():
            if path in self.relayed[nucleus]:
                columns += range(start, start + i.features)
            start += i.features
        return columns

    def relay(self, w: Weights, x: Tensor) -> Tensor:
        """What the input adds to queries and relays [..., 5K + P]: it depends on no state."""
        return F.linear(x, w.from_input, w.bias) if self.by_input else w.bias.expand(*x.shape[:-1], -1)

    def nucleus_gain(self, w: Weights, relayed: Tensor, states: dict[str, Tensor], z: Tensor | None) -> Tensor:
        """Gain of each nucleus on each node [..., K, N].

        Parameters
        ----------
        relayed : [..., 5K + P], of `relay`.
        states : path -> [..., 2, n], previous states of every population that is read or feeds back.
        z : [..., 2, N], previous state of the targets, for nuclei with state gating.
        """
        K = len(self.nuclei)
        if self.reads:
            m = torch.cat([regional_means(states[path]) for path in self.reads], dim=-1)
            relayed = relayed + F.linear(m, w.from_means)
        query = relayed[..., : 5 * K].unflatten(-1, (K, 5))
        logit = query[..., 2:] @ self.values[self.positions]
        if self.by_state:
            assert z is not None
            logit = logit + query[..., :2] @ z
        shift = self._feedback(w, states)
        if self.partners:
            shift = shift - F.linear(torch.relu(relayed[..., 5 * K :]), w.inhibition)
        if isinstance(shift, Tensor):
            logit = logit + shift.unsqueeze(-1)
        return torch.sigmoid(logit)

    def _feedback(self, w: Weights, states: dict[str, Tensor]) -> Tensor | float:
        """``CT_k = c_k . rate / sqrt(n)`` [..., K]."""
        parts = []
        for n, c in zip(self.nuclei, w.feedback, strict=True):
            if c is not None:
                parts.append(torch.cat([modulus(states[p]) for p in self.feedback[n]], dim=-1) @ c)
            else:
                parts.append(None)
        known = [p for p in parts if p is not None]
        return torch.stack([torch.zeros_like(known[0]) if p is None else p for p in parts], dim=-1) if known else 0.0

    def gain(self, w: Weights, relayed: Tensor, states: dict[str, Tensor], z: Tensor | None) -> Tensor:
        """Gain g of each node [..., N]: the mean over the nuclei that target it."""
        return self.mean(self.nucleus_gain(w, relayed, states, z))

    def mean(self, nucleus_gain: Tensor) -> Tensor:
        """g [..., N] of the gain of each nucleus [..., K, N]."""
        if self.everywhere:
            return nucleus_gain.mean(-2)
        return (nucleus_gain * self.values[self.share]).sum(-2) + self.values[self.ungated]


def _home(nucleus: str) -> str:
    return nucleus.rpartition("/")[0]
