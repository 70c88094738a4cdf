"""The Triton kernels: in Triton's interpreter, compiled for a GPU without one, and run on one where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import scans

pytest.importorskip("triton")


@pytest.mark.slow
def test_in_the_interpreter_values_and_gradients_equal_those_of_torch():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(scans.__file__).parent)}
    script = "import scans; scans.check_triton('cpu')"
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_on_a_gpu_values_and_gradients_equal_those_of_torch():
    scans.check_triton("cuda")


@pytest.mark.gpu
def test_on_a_gpu_the_scan_compiles_without_a_graph_break():
    inputs = {name: x.cuda() for name, x in scans.cfc_inputs(4, 9, 40, dtype=torch.float32).items()}

    def run(**values):
        return scans.cfc_scan(**values, gate="sigmoid").sin()

    compiled = scans.value_and_gradients(torch.compile(run, fullgraph=True), inputs)
    for x, y in zip(compiled, scans.value_and_gradients(run, inputs), strict=True):
        torch.testing.assert_close(x, y)


SIZES = {"BLOCK": 32, "STAGES": 4, "TERMS": 8}
CONSTANTS = SIZES | {"INV_A": 1.0, "GATE": "exact", "KEEP": True, "EACH_Q": True, "EACH_R": False}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gated_forward", "gated_backward", "cfc_forward", "cfc_backward"])
@pytest.mark.parametrize(("dtype", "absent"), [("fp32", ()), ("bf16", ("z0", "dlast")), ("fp64", ("dz", "dR"))])
def test_loops_compile_for_hopper_with_their_loads_in_flight(name, dtype, absent):
    """The compiler is stricter than the interpreter, and needs no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nfsim.models.kernels import _loops_triton

    loop = getattr(_loops_triton, name)
    constants = CONSTANTS | dict.fromkeys(absent) | {"BLOCK": 64 if dtype == "bf16" else 32}
    short = {"a", "b", "v", "q", "da", "db", "dv", "dq"}
    states = "fp64" if dtype == "fp64" else "fp32"
    types = {n: "i32" if n in ("T", "N") else "*" + (dtype if n in short else states) for n in loop.arg_names}
    signature = {n: "constexpr" if n in constants else kind for n, kind in types.items()}
    position = {n: (k,) for k, n in enumerate(loop.arg_names)}
    fixed = {position[n]: constants[n] for n in loop.arg_names if n in constants}
    aligned = {position[n]: [["tt.divisibility", 16]] for n in loop.arg_names if n not in constants}
    source = ASTSource(loop, signature, fixed, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1})
    assert compiled.asm["ptx"].count("cp.async.ca") > 8
