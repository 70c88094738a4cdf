"""Kernels that run a whole sequence at once, and which of them can run here."""

from nfsim.models.kernels.gain import node_gain
from nfsim.models.kernels.hebbian import hebbian_step
from nfsim.models.kernels.loop import LoopCoupling, LoopThalamus, cfc_loop
from nfsim.models.kernels.routed import routed_scan
from nfsim.models.kernels.scan import available, cfc_scan, gated_scan
from nfsim.models.kernels.sparse import Pattern, pattern, sparse_product

__all__ = [
    "LoopCoupling",
    "LoopThalamus",
    "Pattern",
    "available",
    "cfc_loop",
    "cfc_scan",
    "gated_scan",
    "hebbian_step",
    "node_gain",
    "pattern",
    "routed_scan",
    "sparse_product",
]
