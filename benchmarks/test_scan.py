"""Milliseconds of a scan, forward and backward, by each kernel that runs here, and how it grows with time.

    OMP_NUM_THREADS=2 pytest benchmarks/test_scan.py --benchmark-enable --benchmark-group-by=group

The torch kernel is the plain loop over time that the others are compared with. Every size is first held to it.
"""

import pytest
import torch

from nfsim.models.kernels import cfc_scan, gated_scan
from scans import cfc_inputs, gated_inputs, tracked, value_and_gradients

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
FUSED = "triton" if CUDA else "numba"
SIZES = {"rows": (128, 28, 96), "rows, wide": (128, 28, 192), "pixels": (128, 784, 64)}
SCANS = {
    "gated": (gated_scan, gated_inputs, {}),
    "cfc": (cfc_scan, cfc_inputs, {"gate": "sigmoid"}),
}


def step(scan, inputs, options, kernel):
    """Return a function that runs a training step of the scan alone."""
    inputs = {name: None if x is None else x.to(DEVICE) for name, x in inputs.items()}
    inputs = tracked(inputs)
    wanted = [x for x in inputs.values() if x is not None]
    cotangent = torch.randn(next(iter(inputs.values())).shape, device=DEVICE)

    def run():
        torch.autograd.grad(scan(**inputs, **options, kernel=kernel), wanted, cotangent)
        if CUDA:
            torch.cuda.synchronize()

    return run


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [FUSED, "torch"])
@pytest.mark.parametrize("name", SCANS)
def test_training_step(benchmark, name, kernel, size):
    scan, make, options = SCANS[name]
    inputs = make(*SIZES[size], dtype=torch.float32)
    few = {key: x[:2] if x.ndim > 1 else x for key, x in inputs.items()}
    expected = value_and_gradients(scan, few, **options, kernel="torch")
    for x, y in zip(value_and_gradients(scan, few, **options, kernel=FUSED), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)
    benchmark.group = f"{name}, B, T, N = {SIZES[size]}"
    benchmark.pedantic(step(scan, inputs, options, kernel), rounds=20 if kernel == FUSED else 3, warmup_rounds=2)


@pytest.mark.parametrize("T", [28, 112, 784, 3136])
def test_time_grows_linearly_with_the_sequence(benchmark, T):
    inputs = cfc_inputs(128, T, 64, dtype=torch.float32)
    benchmark.group = "cfc, microseconds a step"
    benchmark.pedantic(step(cfc_scan, inputs, {"gate": "sigmoid"}, FUSED), rounds=max(5, 3000 // T), warmup_rounds=2)
    if benchmark.stats:
        benchmark.extra_info["microseconds per step"] = 1e6 * benchmark.stats.stats.min / T
