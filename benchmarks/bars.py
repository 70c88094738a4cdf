"""One table of what the compiler is for: ratios to peers in the same process, costs as they grow, memory and scale.

    python benchmarks/bars.py [--only NAME ...] [--threads 2] [--repeats 20]

Both sides have the same batch, dtype and threads; compiling and warm-up are not counted; ratios are medians over
interleaved repeats. Printed with the hardware and the versions.
"""

import argparse
import datetime
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

import numba
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import nfsim
import peers
from nfsim.models.kernels.memory import keep_freed_memory
from nfsim.regions import presets
from timing import milliseconds, ratio, training_step

B, LABELS = 128, 10
Row = tuple[str, str, str]
"""What, the bar, what was measured."""


def hierarchy(features: int, **options: object) -> nn.Module:
    """The preset at about 45 thousand parameters."""
    return nfsim.compile(presets.hierarchy(features, LABELS, **SIZE, **options), device="cpu")


SIZE = {"sensory": 48, "prefrontal": 48, "motor": 40, "rank": 96}


def count(model: nn.Module) -> str:
    """Its parameters, for print."""
    return f"{sum(p.numel() for p in model.parameters()) / 1e3:.1f} K"


def batch(time_steps: int, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same random batch for every contender."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(B, time_steps, features, generator=generator), torch.arange(B) % LABELS


def contest(models: dict[str, nn.Module], steps: int, features: int, repeats: int) -> dict[str, list[float]]:
    """Times of a training step of each model."""
    x, y = batch(steps, features)
    return milliseconds({name: training_step(m, x, y) for name, m in models.items()}, repeats)


def rows(repeats: int) -> Iterator[Row]:
    """T = 28: the hierarchy against ncps, LSTM, GRU and a log-space scan."""
    models = {
        "ours": hierarchy(28),
        "ncps": peers.NCPs(28, 64),
        "lstm": peers.Recurrent(nn.LSTM, 28, 128),
        "gru": peers.Recurrent(nn.GRU, 28, 128),
        "gru, equal": peers.Recurrent(nn.GRU, 28, 104),
        "lstm, equal": peers.Recurrent(nn.LSTM, 28, 90),
        "mingru": peers.MinGRU(28, 120),
    }
    times = contest(models, 28, 28, repeats)
    for name, model in models.items():
        yield f"T=28 step, {name} ({count(model)})", "", f"{median(times[name]):.1f} ms"
    for peer, bar in (
        ("ncps", ">= 5"),
        ("lstm", "> 1"),
        ("gru", ""),
        ("lstm, equal", ""),
        ("gru, equal", ""),
        ("mingru", ""),
    ):
        yield f"T=28, {peer} / ours", bar, f"{ratio(times, peer, 'ours'):.2f}"


def compiled(repeats: int) -> Iterator[Row]:
    """The same by torch.compile, on both sides: batches of one size, and the seconds that compiling took."""
    makers = {
        "ours": lambda: hierarchy(28),
        "ncps": lambda: peers.NCPs(28, 64),
        "lstm": lambda: peers.Recurrent(nn.LSTM, 28, 128),
    }
    x, y = batch(28, 28)
    steps = {}
    for name, make in makers.items():
        torch._dynamo.reset()
        model, start = make(), time.perf_counter()
        model.compile()
        steps[name] = training_step(model, x, y)
        steps[name]()
        yield f"T=28, {name}: seconds of compiling", "", f"{time.perf_counter() - start:.0f} s"
    times = milliseconds(steps, repeats)
    for name in makers:
        yield f"T=28 step, {name} compiled", "", f"{median(times[name]):.1f} ms"
    for peer in ("ncps", "lstm"):
        yield f"T=28, {peer} / ours, compiled", "", f"{ratio(times, peer, 'ours'):.2f}"


def pixels(repeats: int) -> Iterator[Row]:
    """T = 784: the hierarchy against ncps."""
    models = {"ours": hierarchy(1), "ncps": peers.NCPs(1, 64), "lstm": peers.Recurrent(nn.LSTM, 1, 128)}
    times = contest(models, 784, 1, max(3, repeats // 5))
    for name, model in models.items():
        yield f"T=784 step, {name} ({count(model)})", "", f"{median(times[name]):.0f} ms"
    yield "T=784, ncps / ours", ">= 30", f"{ratio(times, 'ncps', 'ours'):.1f}"
    yield "T=784, lstm / ours", "", f"{ratio(times, 'lstm', 'ours'):.1f}"


def growth(repeats: int) -> Iterator[Row]:
    """Time per step of the sequence as it gets longer."""
    per_step = {}
    for steps in (28, 112, 784, 3136):
        times = contest({"ours": hierarchy(1)}, steps, 1, max(3, repeats // 5))
        per_step[steps] = 1e3 * median(times["ours"]) / steps
        yield f"hierarchy, us per step of the sequence at T={steps}", "", f"{per_step[steps]:.0f}"
    yield "T=3136 over T=28, per step", "<= 1.3", f"{per_step[3136] / per_step[28]:.2f}"


def sizes(repeats: int) -> Iterator[Row]:
    """Time per node with more nodes, and per edge with more edges, at T = 28: both stay as they are, or fall."""
    for nodes in (600, 2_400, 9_600):
        for neighbours in (12, 48):
            network = presets.thalamocortical(28, LABELS, prefrontal=nodes - 149, neighbours=neighbours)
            model = nfsim.compile(network, device="cpu", coupling="sparse")
            x, y = batch(28, 28)
            times = milliseconds({"ours": training_step(model, x[:16], y[:16])}, max(3, repeats // 5), 1)
            each = 1e6 * median(times["ours"]) / (28 * 16 * nodes)
            yield (
                f"ns per node, sample and tick: {nodes:,} nodes, {neighbours} neighbours",
                "",
                f"{each:.0f}",
            )


def loop(repeats: int) -> Iterator[Row]:
    """The thalamocortical preset, stepped through time, against its transcription in plain torch."""
    network = presets.thalamocortical(28, LABELS)
    models = {"ours": nfsim.compile(network, device="cpu"), "torch": peers.Thalamocortical(network)}
    times = contest(models, 28, 28, max(5, repeats // 2))
    for name, model in models.items():
        yield f"thalamocortical step, {name} ({count(model)})", "", f"{median(times[name]):.0f} ms"
    yield "thalamocortical, torch / ours", ">= 2", f"{ratio(times, 'torch', 'ours'):.2f}"


def streaming(repeats: int) -> Iterator[Row]:
    """One step of `model.step` at batch 1 against one step of the sequence call."""
    for name, network in (("hierarchy", presets.hierarchy(28)), ("thalamocortical", presets.thalamocortical(28))):
        model = nfsim.compile(network, device="cpu").eval()
        x = torch.randn(1, 100, 28)

        def sequence(model=model, x=x) -> None:
            with torch.no_grad():
                model(x)

        def stream(model=model, x=x) -> None:
            with torch.no_grad():
                state = None
                for t in range(100):
                    state = model.step(x[:, t], state).state

        times = milliseconds({"sequence": sequence, "stream": stream}, max(5, repeats // 2))
        yield f"{name}: us per streamed step, batch 1", "", f"{10 * median(times['stream']):.0f}"
        yield f"{name}: streamed / sequence step", "<= 1.5", f"{ratio(times, 'stream', 'sequence'):.2f}"


PEAK = """
def peak():  # KiB; not ru_maxrss: that begins with what the parent held when it forked
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
"""
"""Largest resident memory of a process of its own, on Linux."""

MEMORY = (
    PEAK
    + """
import torch, nfsim
from nfsim import CfC, Input, Network, Population, Readout
B, T, N = 256, 1568, 128
net = Network().add(Input("x", 1), Population("v1", N, dynamics=CfC(drive="complex")), Readout("r", 10))
net.connect("x", "v1")
model = nfsim.compile(net, device="cpu")
def step(b, t):
    torch.nn.functional.cross_entropy(model(torch.randn(b, t, 1)).logits, torch.zeros(b, dtype=torch.long)).backward()
step(2, 28)
before = peak()
step(B, T)
print((peak() - before) * 1024 / (B * T * 2 * N * 4))
"""
)


def memory(repeats: int) -> Iterator[Row]:
    """Peak memory of a scanned training step, in arrays of [batch, time, 2N]: resident, in its own process."""
    del repeats
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    yield "peak memory of a scanned step, arrays [B, T, 2N]", "<= 6", f"{float(done.stdout):.2f}"


SCALE = (
    PEAK
    + """
import time, nfsim
from nfsim import CfC, Input, Nearest, Network, Population, Readout
start = time.perf_counter()
net = Network().add(Input("x", 1), Readout("r", 10, kind="sector"))
net.add(Population("cortex", 1_000_000, sectors=10, dynamics=CfC(omega=0.5)))
net.connect("x", "cortex")
net.connect("cortex", "cortex", Nearest(12))
model = nfsim.compile(net, device="cpu")
print(time.perf_counter() - start, peak() / 2**20)
"""
)


def scale(repeats: int) -> Iterator[Row]:
    """A million nodes with 12 neighbours: declare, wire and compile."""
    del repeats
    done = subprocess.run([sys.executable, "-c", SCALE], capture_output=True, text=True, check=True)
    seconds, gigabytes = map(float, done.stdout.split())
    yield "a million nodes, 12 neighbours: declare, wire, compile", "< 90 s", f"{seconds:.0f} s"
    yield "a million nodes: peak memory", "< 10 GB", f"{gigabytes:.1f} GB"


def coupling(repeats: int) -> Iterator[Row]:
    """One coupling step of a million nodes with 12 neighbours, against the triad a = b + s c of arrays out of cache."""
    from nfsim.models.kernels import pattern, sparse_product

    net = nfsim.Network().add(nfsim.Input("x", 1), nfsim.Population("p", 1_000_000), nfsim.Readout("r", 2))
    net.connect("x", "p")
    net.connect("p", "p", nfsim.Nearest(12), name="k")
    K = net.wire().matrices["k"]
    p = pattern(*(torch.from_numpy(part.astype("int64")) for part in (K.indptr, K.indices)), K.shape[1])
    w, z = torch.from_numpy(K.data).float(), torch.randn(1, K.shape[1])
    a, b, c = (torch.randn(2**25) for _ in range(3))
    steps = {
        "coupling": lambda: sparse_product(z, w, p),
        "triad": lambda: torch.add(b, c, alpha=2.0, out=a),
    }
    times = {name: min(found) for name, found in milliseconds(steps, max(10, repeats)).items()}
    moved = sum(part.nbytes for part in (p.indptr, p.indices, w)) + 2 * z.nbytes
    rate, triad = moved / times["coupling"] / 1e6, 3 * a.nbytes / times["triad"] / 1e6
    yield "a million nodes: one coupling step", "", f"{times['coupling']:.1f} ms, {moved / 1e6:.0f} MB"
    yield "triad", "", f"{triad:.0f} GB/s"
    yield "coupling step, share of the triad bandwidth", ">= 30 %", f"{100 * rate / triad:.0f} %"


BARS = {f.__name__: f for f in (rows, compiled, pixels, growth, sizes, loop, streaming, memory, scale, coupling)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=BARS, default=list(BARS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numba {numba.__version__}"
    console = Console(width=120)
    console.print(
        f"{datetime.date.today()}, {_processor()}, {arguments.threads} threads, {versions}, batch {B}, float32"
    )
    table = Table("what", "bar", "measured")
    start = time.perf_counter()
    for name in arguments.only:
        for row in BARS[name](arguments.repeats):
            table.add_row(*row)
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"{time.perf_counter() - start:.0f} s, {peak:.1f} GB at most")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
