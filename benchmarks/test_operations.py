"""Forward and backward of each operation of ours and of its peers: the table whose equality the tests assert.

OMP_NUM_THREADS=2 pytest benchmarks/test_operations.py -n 0 --benchmark-enable --benchmark-group-by=group
"""

import pytest
import torch

from operations import OPERATIONS, inputs
from scans import tracked

SIZE = (128, 28, 256)
CONTENDERS = {
    f"{ours.__name__}, {name}": (ours, call)
    for ours, others in OPERATIONS.items()
    for name, call in {"ours": ours, **others}.items()
}


@pytest.mark.parametrize("contender", CONTENDERS)
def test_training_step(benchmark, contender):
    ours, call = CONTENDERS[contender]
    given = tracked(inputs(ours, *SIZE, torch.float32))
    wanted = list(given.values())
    cotangent = torch.randn_like(call(**given))
    benchmark.group = f"{ours.__name__}, B, T, N = {SIZE}"
    benchmark.pedantic(lambda: torch.autograd.grad(call(**given), wanted, cotangent), rounds=10, warmup_rounds=2)
