"""The scans as torch operators: compiled, exported, on any number of threads, with any layout; and what they refuse."""

import subprocess
import sys
import textwrap

import pytest
import torch

from nfsim.models import kernels
from nfsim.models.kernels import _operators, cfc_scan, gated_scan
from scans import cfc_inputs, gated_inputs, tracked, value_and_gradients

PROBLEMS = {
    "gated": (gated_scan, gated_inputs(4, 6, 40, dtype=torch.float32), {}),
    "cfc": (cfc_scan, cfc_inputs(4, 6, 40, dtype=torch.float32), {"gate": "sigmoid"}),
}
problems = pytest.mark.parametrize(("scan", "inputs", "options"), PROBLEMS.values(), ids=PROBLEMS)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("dlast_only", [False, True])
def test_operators_keep_torchs_rules(dlast_only):
    """Schema, fake tensors, autograd registration and tracing, as torch.library checks them."""
    a = tracked(gated_inputs(2, 3, 2, dtype=torch.float32))
    c = tracked(cfc_inputs(2, 3, 2, turn="each" if dlast_only else "shared"))
    torch.library.opcheck(_operators.gated, (*a.values(), True, "numba"))
    torch.library.opcheck(_operators.cfc, (*c.values(), 1.0, "exact", True, "numba"))
    a, c = ({name: x.detach() for name, x in inputs.items()} for inputs in (a, c))
    z, last = _operators.cfc(*c.values(), 1.0, "exact", True, "numba")
    grads = (None, last) if dlast_only else (z, None)
    single = tuple(g if g is None else g.float() for g in (*grads, z))
    torch.library.opcheck(_operators.gated_backward, (*single[:2], a["a"], a["z0"], single[2], "numba"))
    torch.library.opcheck(_operators.cfc_backward, (*grads, *c.values(), z, 1.0, "exact", True, "numba"))
    torch.library.opcheck(_operators.cfc_backward, (*grads, *c.values(), z, 1.0, "exact", False, "numba"))


def check_compiled(scan, inputs, options, backend):
    compiled = torch.compile(lambda **values: scan(**values, **options).sin(), fullgraph=True, backend=backend)
    eager = value_and_gradients(lambda **values: scan(**values, **options).sin(), inputs)
    for x, y in zip(value_and_gradients(compiled, inputs), eager, strict=True):
        torch.testing.assert_close(x, y)


@problems
def test_scan_traces_without_a_graph_break(scan, inputs, options):
    check_compiled(scan, inputs, options, "aot_eager")


@pytest.mark.slow
@problems
def test_scan_compiles_without_a_graph_break(scan, inputs, options):
    check_compiled(scan, inputs, options, "inductor")


@problems
def test_scan_exports(scan, inputs, options):
    class Module(torch.nn.Module):
        def forward(self, values):
            return scan(**values, **options)

    program = torch.export.export(Module(), (inputs,))
    assert torch.equal(program.module()(inputs), scan(**inputs, **options))


@problems
def test_results_do_not_depend_on_the_number_of_threads(scan, inputs, options, threads):
    inputs = {name: x.repeat(4, *[1] * (x.ndim - 1)) if name != "rotation" else x for name, x in inputs.items()}
    inputs = {name: x.repeat(1, 120, 1) if x.ndim == 3 else x for name, x in inputs.items()}  # enough for two threads
    results = []
    for n in (1, 2):
        threads(n)
        results.append(value_and_gradients(scan, inputs, **options))
        assert torch.get_num_threads() == n
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@problems
def test_a_sample_does_not_depend_on_its_batch(scan, inputs, options):
    order = [2, 0]
    part = {name: x[order] if name != "rotation" else x for name, x in inputs.items()}
    assert torch.equal(scan(**part, **options), scan(**inputs, **options)[order])


@problems
def test_layout_of_inputs_and_gradients_does_not_matter(scan, inputs, options):
    def strided(x):
        return x.mT.contiguous().mT if x.ndim > 1 else x.repeat_interleave(2)[::2]

    def run(**values):
        return scan(**{name: strided(x) for name, x in values.items()}, **options).mean(1)  # an expanded gradient

    expected = value_and_gradients(lambda **values: scan(**values, **options).mean(1), inputs)
    for x, y in zip(value_and_gradients(run, inputs), expected, strict=True):
        assert torch.equal(x, y)


@problems
@pytest.mark.parametrize("kernel", ["numba", "torch"])
def test_inputs_of_16_bits_give_states_and_arithmetic_of_32(scan, inputs, options, kernel):
    short = {name: x.bfloat16() for name, x in inputs.items()}
    results = value_and_gradients(scan, short, **options, kernel=kernel)
    expected = value_and_gradients(scan, {name: x.float() for name, x in short.items()}, **options, kernel=kernel)
    assert results[0].dtype == torch.float32
    for x, y in zip(results, expected, strict=True):
        assert torch.equal(x, y.to(x.dtype))
    assert {x.dtype for x in results[1:]} == {torch.bfloat16}


@problems
def test_backward_keeps_the_inputs_and_the_states_and_nothing_else(scan, inputs, options):
    kept = {}

    def keep(x):
        kept[x.data_ptr()] = x.numel()
        return x

    inputs = tracked(inputs)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        z = scan(**inputs, **options)
    saved = {**inputs, "z": z}
    saved.pop("b", None)  # the gradient of a gated scan does not need it
    assert kept == {x.data_ptr(): x.numel() for x in saved.values()}


def test_without_gradients_a_final_state_stores_no_other():
    z, last = _operators.cfc(*cfc_inputs(2, 50, 3).values(), 1.0, "exact", False, "numba")
    assert z.shape == (2, 1, 6)
    assert last.shape == (2, 6)


def test_inputs_that_need_no_gradient_get_none():
    inputs = cfc_inputs(2, 4, 3, turn="each")
    inputs["v"].requires_grad_()
    cfc_scan(**inputs, gate="exact").sum().backward()
    assert [name for name, x in inputs.items() if x.grad is not None] == ["v"]


x = torch.zeros(2, 3, 8)
REFUSED = {
    "odd": (ValueError, r"a has shape \[2, 3, 7\]; .* \[batch, time, 2 node\]", gated_scan, (x[..., 1:], x), {}),
    "no step": (ValueError, "at least one of each", gated_scan, (x[:, :0], x[:, :0]), {}),
    "other shape": (ValueError, r"b has shape \[2, 2, 8\]; it must be \[2, 3, 8\]", gated_scan, (x, x[:, 1:]), {}),
    "start": (ValueError, r"z0 has shape \[1, 8\]; it must be \[2, 8\]", gated_scan, (x, x, x[:1, 0]), {}),
    "rate": (ValueError, r"t has shape \[2, 3, 8\]; it must be \[2, 3, 4\] or \[4\]", cfc_scan, (x, x), {}),
    "turn": (ValueError, "cosines before sines", cfc_scan, (x, x[..., :4], x[0, 0, :4]), {}),
    "gate": (ValueError, "gate 'tanh' is not known; choose from none", cfc_scan, (x, x[..., :4]), {"gate": "tanh"}),
    "limit": (ValueError, "amplitude -1 is not above 0", cfc_scan, (x, x[..., :4]), {"amplitude": -1}),
    "dtype": (TypeError, "dtype torch.int64 is not a real floating type", gated_scan, (x.long(), x), {}),
    "complex": (TypeError, "stack the parts of complex states", gated_scan, (x, x.cfloat()), {}),
    "kernel": (ValueError, "kernel 'cuda' is not known; choose from auto", gated_scan, (x, x), {"kernel": "cuda"}),
    "devices": (ValueError, "inputs are on cpu and meta; move them", gated_scan, (x, x.to("meta")), {}),
    "not cpu": (ValueError, "'numba' runs on the CPU.* on meta", gated_scan, (x.to("meta"),) * 2, {"kernel": "numba"}),
    "not cuda": (ValueError, "'triton' runs on CUDA devices.* on cpu", gated_scan, (x, x), {"kernel": "triton"}),
}


@pytest.mark.parametrize(("error", "message", "scan", "inputs", "options"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_by_name_with_the_cure(error, message, scan, inputs, options):
    with pytest.raises(error, match=message):
        scan(*inputs, **options)


@pytest.mark.parametrize("kernel", ["numba", "triton"])
def test_a_kernel_that_cannot_be_loaded_says_what_to_install(monkeypatch, kernel):
    monkeypatch.delattr(kernels, f"_scan_{kernel}", raising=False)
    monkeypatch.setitem(sys.modules, f"nfsim.models.kernels._scan_{kernel}", None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(ImportError, match=f"kernel '{kernel}' cannot be loaded: .*; install {kernel}.* kernel='torch'"):
        gated_scan(x, x, kernel=kernel)


def test_available_names_every_kernel_and_what_it_lacks():
    found = kernels.available()
    assert found["torch"] == found["numba"] == "ready"
    assert found["triton"] in ("ready", "triton is not installed", "torch sees no CUDA device")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_child_ends_cleanly_and_is_told_if_it_calls_the_kernel():
    """Without the check OpenMP ends the child by a signal. A loader with workers forks in the middle of training."""
    script = """
        import os
        import torch
        from nfsim.models.kernels import gated_scan

        x = torch.rand(2, 3, 8, requires_grad=True)

        def child(work):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    work()
                    code = 0
                finally:
                    os._exit(code)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def refused():
            try:
                gated_scan(x, x)
            except RuntimeError as error:
                assert "pass kernel='torch'" in str(error), error
            else:
                from numba import threading_layer
                assert threading_layer() != "omp"
            gated_scan(x, x, kernel="torch")

        gated_scan(x, x).sum().backward()
        assert child(lambda: None) == 0
        assert child(refused) == 0

        class Samples(torch.utils.data.Dataset):
            def __len__(self):
                return 6
            def __getitem__(self, i):
                return torch.full((3, 8), float(i))

        for batch in torch.utils.data.DataLoader(Samples(), batch_size=2, num_workers=2):
            gated_scan(x, batch).sum().backward()
        """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
