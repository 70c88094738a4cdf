"""The command line: what each command prints, writes and refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nfsim
from nfsim.arguments import UsageError, bind
from nfsim.cli import COMMANDS, main
from nfsim.configuration import compose, settle
from nfsim.runs import load, new_folder

QUICK = ["model=mlp", "model.hidden=[8]", "trainer.epochs=1", "logger=none"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NFSIM_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Return a function that runs a command, and gives its exit code and its one line."""

    def run(*words):
        code = main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert err.startswith("nfsim: ")
        return code, err

    return run


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def nfsim_process(*words, **options):
    command = [sys.executable, "-P", "-c", "import sys; from nfsim.cli import main; sys.exit(main())", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter(); from nfsim.cli import main; "
        "words = ([], ['train'], ['evaluate'], ['explain'], ['reproduce'], ['version']); "
        "[main([*command, '--help']) for command in words]; "
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'lightning', 'rich', 'networkx'} & set(sys.modules); "
        "print(time.perf_counter() - start, sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stderr.split(maxsplit=1)
    assert float(seconds) < 0.5
    assert heavy.strip() == "[]"
    for name in COMMANDS:
        assert name in done.stdout
    for part in ("trainer.lr=", "data=digits | mnist |", "model=lstm | gru", "resume=RUN", "network.target="):
        assert part in done.stdout


def test_version(capsys):
    assert main(["version"]) == main(["--version"]) == 0
    assert capsys.readouterr().out == f"nfsim {nfsim.__version__}\n" * 2


def test_a_training_run_keeps_all_that_is_promised(here, capsys):
    assert main(["train", *QUICK, "logger=default", "seed=4"]) == 0
    run = only_run(here)
    assert run.name.endswith("-mlp-digits")
    metrics = json.loads((run / "metrics.json").read_text())
    for key in ("val/accuracy", "test/accuracy", "parameters", "seconds", "samples_per_second"):
        assert metrics[key] > 0
    assert metrics["parameters"] == 65 * 8 + 9 * 10
    names = {path.name for path in run.iterdir()}
    assert names == {"config.yaml", "metrics.json", "right.npy", "history.csv", "best.ckpt", "last.ckpt", "tensorboard"}
    assert list((run / "tensorboard").glob("events*"))
    out = capsys.readouterr().out
    for part in (f"{100 * metrics['test/accuracy']:.2f} %", "610", "samples/s", f"runs/{run.name}", "epoch 1/1"):
        assert part in out

    assert main(["evaluate", str(run)]) == 0
    assert f"{100 * metrics['test/accuracy']:.2f} %" in capsys.readouterr().out
    assert main(["evaluate", str(run), "data.evaluation_batch=7", "--split", "train", "--checkpoint=last"]) == 0
    assert "1,257" in capsys.readouterr().out


def test_a_network_is_trained_and_loaded(here):
    small = ["network.sensory=10", "network.prefrontal=10", "network.motor=10", "trainer.epochs=1", "logger=none"]
    assert main(["train", *small, "name=small"]) == 0
    run = only_run(here)
    model = load(run)
    assert model.network.digest() == nfsim.Network.from_json((run / "network.json").read_text()).digest()
    assert model.labels == tuple("0123456789")


def test_resuming_goes_on_in_the_same_folder(here, capsys, refused):
    assert main(["train", *QUICK]) == 0
    run = only_run(here)
    before = json.loads((run / "metrics.json").read_text())
    code, error = refused("train", f"resume={run}")
    assert code == 2
    assert "all 1 epochs are done; give more by trainer.epochs=11" in error
    assert main(["train", f"resume={run}", "trainer.epochs=3"]) == 0
    after = json.loads((only_run(here) / "metrics.json").read_text())
    assert after["epochs"] == 3
    assert after["seconds"] > before["seconds"]
    code, error = refused("train", f"resume={run}", "trainer.epochs=4", "model.hidden=[9]")
    assert code == 2
    assert "hidden.0: 8 there, 9 here" in error
    assert "epochs: 3" in (run / "config.yaml").read_text(), "a refused resume changes nothing"


@pytest.mark.slow
def test_a_sweep_trains_every_combination(here, capsys):
    assert main(["train", "-m", *QUICK, "seed=0,1", "data.batch=60,70"]) == 0
    sweep = only_run(here)
    assert sweep.name.endswith("-sweep")
    seeds = [(sweep / str(i) / "config.yaml").read_text().count("seed: 1") for i in range(4)]
    assert seeds == [0, 0, 1, 1]
    out = capsys.readouterr().out
    assert "seed=1" in out
    assert "data.batch=70" in out
    assert all((sweep / str(i) / "metrics.json").is_file() for i in range(4))


def test_nothing_of_a_sweep_starts_when_something_is_wrong(here, refused):
    code, error = refused("train", "-m", *QUICK, "seed=0,-1", "trainer.lr=1e-3,0")
    assert code == 2
    assert error == (
        "nfsim: trainer.lr=0.0: must be > 0; change it\n"
        "nfsim: seed=-1: must be >= 0 and < 9223372036854775808; change it\n"
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["trian"],
            2,
            "there is no command 'trian'; the commands are train, evaluate, record, plot, explain, reproduce, ",
        ),
        (["reproduce", "row"], 2, "'row': there is no study of that name; the studies are "),
        (["train", "--lr", "3"], 2, "train: unknown flag --lr; its flags are --multirun; settings"),
        (["train", "trainer.eopchs=3"], 2, "trainer.eopchs: unknown; keys of trainer:"),
        (["train", "daat=mnist"], 2, "daat: unknown; keys: data,"),
        (["train", "data=digit"], 2, "data=digit: unknown; options of data: digits, fashion_mnist"),
        (["train", "resume=a", "resume=b"], 2, "one run is resumed at a time"),
        (["train", "resume=nowhere"], 1, "nowhere: there is no such run"),
        (["train", "resume=."], 1, ".: holds no config.yaml, so it is no run"),
        (["train", "network=file", "network.path=none.json"], 1, "network.path=none.json: cannot be read"),
        (["train", "data=mnist", "data.root=nowhere"], 1, "MNIST: nowhere/MNIST/raw lacks train-images-idx3-ubyte"),
        (["train", "model=mlp", "trainer.device=mps"], 2, "device=mps: this machine has none"),
        (["evaluate"], 2, "evaluate: RUN missing; see nfsim evaluate --help"),
        (["evaluate", "nowhere"], 1, "nowhere: there is no such run"),
        (["evaluate", "x", "--split", "all"], 2, "--split 'all' is none of train, validation, test"),
        (["evaluate", "x", "--checkpoint"], 2, "--checkpoint lacks its value"),
        (["explain", "model=mlp"], 2, "model=mlp: has no program"),
        (["version", "please"], 2, "version: 'please' is one word too many"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_written(here, refused, words, code, message):
    assert refused(*words)[0] == code
    assert message in refused(*words)[1]
    assert list(here.iterdir()) == []


def test_an_unwritable_run_folder_is_refused_before_training(here, refused):
    (here / "file").write_text("")
    code, error = refused("train", *QUICK, "runs=file/inside")
    assert code == 1
    assert "runs=file/inside: cannot make a folder there (Not a directory); give another by runs=FOLDER" in error


def test_a_damaged_checkpoint_is_refused(here, refused):
    assert main(["train", *QUICK]) == 0
    run = only_run(here)
    for name in ("best.ckpt", "last.ckpt"):
        (run / name).write_bytes(b"PK" + bytes(100))
    assert "best.ckpt: not a readable checkpoint" in refused("evaluate", str(run))[1]
    code, error = refused("train", f"resume={run}", "trainer.epochs=2")
    assert code == 1
    assert "last.ckpt: not a readable checkpoint" in error
    (run / "best.ckpt").unlink()
    assert "there is no such checkpoint" in refused("evaluate", str(run))[1]


def test_debugging_shows_the_traceback(here, monkeypatch):
    monkeypatch.setenv("NFSIM_DEBUG", "1")
    with pytest.raises(nfsim.BuildError):
        main(["train", "data=none"])


def test_explain_prints_the_program_of_both_presets(here, capsys):
    for network in ("hierarchy", "thalamocortical"):
        assert main(["explain", f"network={network}", "data=mnist"]) == 0
        out = capsys.readouterr().out
        assert network in out
        assert "[batch, time, 28]" in out
    assert list(here.iterdir()) == []


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(here):
    settings = settle(compose())
    assert len({new_folder(settings) for _ in range(3)}) == 3


def test_arguments_follow_the_signature():
    def plot(run: str, *overrides: str, samples: int = 64, to: str = ""): ...

    assert bind(plot, ["r", "a=1", "--samples", "8", "--to=x"]) == (["r", "a=1"], {"samples": 8, "to": "x"})
    with pytest.raises(UsageError, match="--samples 'many' is not of type int"):
        bind(plot, ["r", "--samples", "many"])


@pytest.mark.slow
def test_control_c_leaves_a_run_that_resumes(tmp_path):
    def heard() -> None:  # a shell starts jobs in the background deaf to SIGINT, and their children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    words = ("train", *QUICK, "trainer.epochs=100000", "logger=csv")
    process = nfsim_process(*words, cwd=tmp_path, preexec_fn=heard)
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("runs/*/last.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    run = only_run(tmp_path)
    assert process.returncode == 130, err
    assert f"interrupted; nfsim train resume=runs/{run.name} goes on" in err
    assert "Traceback" not in out + err
    done = len((run / "history.csv").read_text().splitlines()) - 1
    resumed = nfsim_process("train", f"resume={run}", f"trainer.epochs={done + 2}", cwd=tmp_path)
    out, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert json.loads((run / "metrics.json").read_text())["epochs"] == done + 2


@pytest.mark.slow
def test_the_default_training_reaches_its_accuracy(tmp_path):
    process = nfsim_process("train", cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "2"})
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics["test/accuracy"] >= 0.96
