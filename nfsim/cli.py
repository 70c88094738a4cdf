"""The commands: plain functions, with arguments from their signatures and help from their docstrings."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import nfsim
from nfsim.arguments import UsageError, bind
from nfsim.errors import BuildError


# Everything heavier is imported where it is used: `nfsim --help` has half a second.
def train(*overrides: str, multirun: bool = False) -> None:
    """Train a network, evaluate it once on the test split, and keep everything in a run folder.

    nfsim train                                      digits, with the hierarchy preset
    nfsim train data=mnist network.ticks=2 seed=1    other data, another setting
    nfsim train network=file network.path=my.json    a network of yours
    nfsim train network=factory network.target=my.py:build
    nfsim train -m seed=0,1,2 data=digits,mnist      all combinations, one after the other
    nfsim train resume=RUN                           go on after an interruption
    nfsim train resume=RUN trainer.epochs=80         go on for longer

    A run folder, runs/DATE-NAME, holds config.yaml, network.json, best.ckpt (the best epoch in validation accuracy),
    last.ckpt (to resume), history.csv, tensorboard/ and metrics.json.
    """
    from nfsim import commands

    runs = [word.partition("=")[2] for word in overrides if word.startswith("resume=")]
    words = [word for word in overrides if not word.startswith("resume=")]
    if len(runs) > 1 or (runs and multirun):
        raise UsageError("train: one run is resumed at a time; give resume=RUN once, without -m")
    if multirun:
        commands.sweep(words)
    elif runs:
        commands.resume(runs[0], words)
    else:
        commands.train(words)


def evaluate(run: str, *overrides: str, split: str = "test", checkpoint: str = "best") -> None:
    """Evaluate the model of a run on any split of any data root.

    nfsim evaluate RUN                               the test split, with the best epoch's weights
    nfsim evaluate RUN --split validation            or train
    nfsim evaluate RUN --checkpoint last             the last epoch's weights
    nfsim evaluate RUN data.root=/data               settings on top of those that the run stored
    """
    from nfsim import commands

    commands.evaluate(run, overrides, split, checkpoint)


def record(run: str, *, split: str = "validation", samples: int = 64, every: int = 1, resume: bool = False) -> None:
    """Record what the model of a run does on samples of its data, with names and positions, into a zarr store.

    nfsim record RUN                                 64 samples of the validation split
    nfsim record RUN --split test --samples 100
    nfsim record RUN --every 4                       every fourth tick
    nfsim record RUN --resume                        go on with a recording that was interrupted

    The store, recording.zarr in the run folder, opens with nfsim.open and with xarray.open_zarr.
    """
    from nfsim import commands

    commands.record(run, split, samples, every, resume)


def plot(run: str, *, trial: int = 0, dpi: int = 120) -> None:
    """Draw a recording: rates, phases, gain, regions, order parameters, phase locking, free energy.

    nfsim plot RUN                                   what nfsim record made, into plots/ of the run folder
    nfsim plot STORE --trial 3                       sample 3 of any recording
    """
    from nfsim import commands

    commands.plot(run, trial, dpi)


def explain(*overrides: str) -> None:
    """Print the program that a network compiles to: stages, kernels, parameters, stability.

    nfsim explain                                    the hierarchy preset, for digits
    nfsim explain network=thalamocortical data=mnist
    nfsim explain network=file network.path=my.json
    """
    from nfsim import commands

    commands.explain(overrides)


def reproduce(
    name: str = "",
    *,
    tier: str = "quick",
    seeds: str = "",
    only: str = "",
    results: str = "results",
    runs: str = "runs/reproduce",
    device: str = "auto",
    clean: bool = False,
    list: bool = False,
    report: bool = False,
) -> None:
    """Run a published experiment: every model, seed and baseline, into a table, with the published number beside it.

    nfsim reproduce --list                           the studies, their tiers and the minutes they take
    nfsim reproduce rows                             tier quick: 10,000 images, 5 epochs, 3 seeds
    nfsim reproduce rows --tier full                 5 seeds; long: what wants a GPU
    nfsim reproduce rows --only lstm,gru --seeds 0,1 a part; several processes may share a study
    nfsim reproduce all --tier full
    nfsim reproduce rows --clean                     drop rows of other settings first
    nfsim reproduce --report                         write README.md's tables and results/README.md anew

    A run that was interrupted goes on, a finished one is not repeated. results/NAME.csv has a row for each; the test
    split is met once a run, at its end. Run folders are in runs/reproduce.
    """
    from nfsim.studies.command import Request, listing
    from nfsim.studies.command import reproduce as run
    from nfsim.studies.report import write

    request = Request(tier, seeds, only, results, runs, device, clean)
    if list:
        listing(request)
    elif report:
        write(request)
    elif not name:
        raise UsageError("reproduce: which study? nfsim reproduce --list names them; all runs them all")
    else:
        run(name, request)


def version() -> None:
    """Print the version."""
    sys.stdout.write(f"nfsim {nfsim.__version__}\n")


COMMANDS: dict[str, Callable[..., None]] = {
    f.__name__: f for f in (train, evaluate, record, plot, explain, reproduce, version)
}


def usage() -> str:
    """Return what `nfsim --help` prints."""
    lines = [str(nfsim.__doc__), "", "nfsim COMMAND ...", ""]
    lines += [f"  {name:<10} {_first_line(command)}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "nfsim COMMAND --help says more; NFSIM_DEBUG=1 shows where an error comes from."])


def help_on(name: str) -> str:
    """Return what `nfsim COMMAND --help` prints."""
    import inspect

    text = inspect.getdoc(COMMANDS[name]) or ""
    if name in ("train", "explain"):
        from nfsim.manual import manual

        text += "\n\n" + manual()
    return text


def _first_line(command: Callable[..., None]) -> str:
    return (command.__doc__ or "").splitlines()[0]


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 where it failed, 2 where it was asked for what does not exist, 130 if stopped."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage() + "\n")
        return 0
    # Idle OpenMP threads spin, which keeps other processes from the cores: with two cores and other work a step of
    # 20 ms took 700 ms. Not to spin at all (OMP_WAIT_POLICY=passive) makes a step on an idle machine 1.5 times longer;
    # this many rounds cost it a tenth, and no more than 0.1 ms each.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    name, *rest = words
    try:
        if name == "--version":
            name = "version"
        if name not in COMMANDS:
            raise UsageError(f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}")
        if "-h" in rest or "--help" in rest:
            sys.stdout.write(help_on(name) + "\n")
            return 0
        positional, keywords = bind(COMMANDS[name], rest)
        COMMANDS[name](*positional, **keywords)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt as stop:
        _say(str(stop) or "interrupted")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("NFSIM_DEBUG") == "1":
            raise
        expected = isinstance(error, OSError | ValueError | FloatingPointError)
        _say(str(error) if expected and str(error) else f"{type(error).__name__}: {error} (NFSIM_DEBUG=1 shows where)")
        return 2 if isinstance(error, BuildError | UsageError) else 1


def _say(text: Any) -> None:
    for line in str(text).splitlines():
        sys.stderr.write(f"nfsim: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
