"""Kernels that run a whole sequence at once, and which of them can run here."""

from nfsim.models.kernels.gain import node_gain
from nfsim.models.kernels.routed import routed_scan
from nfsim.models.kernels.scan import available, cfc_scan, gated_scan

__all__ = ["available", "cfc_scan", "gated_scan", "node_gain", "routed_scan"]
