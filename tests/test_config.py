"""Configuration: the files agree with their schema, and whatever is wrong with an override is said at once."""

from dataclasses import fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import nfsim
from nfsim import configuration, settings
from nfsim.assembly import MODELS, NETWORKS, make_data, make_model, make_network
from nfsim.conf import groups
from nfsim.configuration import amend, compose, expand, settle
from nfsim.data import DATASETS
from nfsim.manual import manual
from nfsim.settings import SCHEMAS, FactorySettings, Settings, TrainerSettings


def problems(*overrides):
    with pytest.raises(nfsim.BuildError) as caught:
        settle(compose(overrides))
    return list(caught.value.problems)


def test_every_option_has_a_schema_a_file_and_something_that_builds_it():
    options = groups()
    for group, schemas in SCHEMAS.items():
        assert set(options[group]) == set(schemas)
    assert set(DATASETS) == set(SCHEMAS["data"])
    assert set(NETWORKS) == set(SCHEMAS["network"]) - {"none"}
    assert set(MODELS) == set(SCHEMAS["model"])


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g in ("data", "network", "model", "trainer", "logger", "experiment") for o in groups().get(g, [])],
)
def test_every_option_composes(group, option):
    config = compose([f"{group}={option}"])
    if group in SCHEMAS:
        assert config[group].name == option


def test_the_defaults_are_settings_without_a_problem():
    assert isinstance(settle(compose()), Settings)


def test_a_datasets_length_of_training_yields_to_the_trainers():
    assert compose(["data=mnist"]).trainer.epochs != compose(["data=digits"]).trainer.epochs
    assert compose(["data=mnist", "trainer=quick"]).trainer.epochs == 2
    assert compose(["data=mnist", "trainer=quick", "trainer.epochs=3"]).trainer.epochs == 3


def test_the_manual_lists_every_key_and_option():
    text = manual()
    for schema in (Settings, TrainerSettings, *(s for schemas in SCHEMAS.values() for s in schemas.values())):
        for item in fields(schema):
            assert item.name == "name" or f"{item.name}=" in text
    for names in groups().values():
        assert all(name in text for name in names)
    assert "trainer.clip=1.0" in text
    assert "seed=0" in text
    assert "network.ticks=null" in text


def test_fields_all_say_what_they_mean():
    source = Path(settings.__file__).read_text(encoding="utf-8")
    assert source.count('    """') >= sum(len(fields(s)) for s in (Settings, TrainerSettings))
    assert "..." not in [line.split()[-1] for line in manual().splitlines() if line.startswith("  trainer.")]


def test_all_wrong_overrides_are_reported_together_with_what_is_known():
    found = problems(
        "trainer.eopchs=3", "data=digit", "network=thalamus", "trainer.epochs=x", "nope=1", "data.batch=[1"
    )
    assert len(found) == 6
    text = "\n".join(found)
    for part in (
        "data=digit: unknown; options of data: digits, fashion_mnist, kmnist, mnist",
        "network=thalamus: unknown; options of network: factory, file, hierarchy, none, thalamocortical",
        "trainer.eopchs: unknown; keys of trainer: clip,",
        "(did you mean epochs?)",
        "trainer.epochs=x: Value 'x' of type 'str' could not be converted to Integer",
        "nope: unknown; keys: data, logger, model, name, network, runs, seed, trainer",
        "data.batch=[1: not KEY=VALUE",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.schedule=linear", "expected one of [one_cycle, cosine, constant]"),
        ("seed=1,2", "several values; add -m"),
        ("optimizer/lr=3", "unknown; groups: data,"),
        ("~trainer", "cannot be left out; it takes one of default, quick"),
        ("+trainer.momentum=1", "trainer.momentum: unknown; keys of trainer"),
        ("seed.a=1", "seed"),
        ("data.root=/x", "data.root: unknown; keys of data: batch, evaluation_batch, name, rotate,"),
        ("seed", "not KEY=VALUE"),
    ],
)
def test_each_wrong_override_is_named(override, message):
    (found,) = problems(override)
    assert message in found


def test_all_rules_between_settings_are_reported_together():
    found = problems(
        "model=mlp", "network=hierarchy", "model.hidden=[0]", "trainer.energy_weight=1", "trainer.lr=nan",
        "trainer.patience=99", "seed=-1", "trainer.label_smoothing=1", "name=a/b",
    )  # fmt: skip
    text = "\n".join(found)
    for part in (
        "network=hierarchy: model=mlp takes no network",
        "model.hidden=[0]: every layer needs at least one unit",
        "trainer.energy_weight=1.0: model=mlp has no free energy",
        "trainer.lr=nan: not a finite number",
        "trainer.patience=99: never runs out in 40 epochs",
        "seed=-1: must be >= 0",
        "trainer.label_smoothing=1.0: must be >= 0 and < 1",
        "name=a/b: not the name of a folder",
    ):
        assert part in text
    assert len(found) == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network=file"], "network.path: not given; add network.path=..."),
        (["network=none"], "model=network needs a declaration"),
        (["network.ticks=0"], "network.ticks=0: must be >= 1"),
        (["data=mnist", "data.validation=50000", "data.limit=20000"], "only 10000 training images are left"),
        (["trainer.lr=0"], "trainer.lr=0.0: must be > 0"),
        (["trainer.epochs=0"], "trainer.epochs=0: must be >= 1"),
    ],
)
def test_settings_that_make_no_run_are_refused(overrides, message):
    (found,) = problems(*overrides)
    assert message in found


def test_a_sweep_is_every_combination():
    lines, jobs = expand(["seed=range(2)", "data=digits,mnist", "trainer.lr=0.1"])
    assert len(lines) == 3
    assert [" ".join(job) for job in jobs] == [
        "seed=0 data=digits trainer.lr=0.1",
        "seed=0 data=mnist trainer.lr=0.1",
        "seed=1 data=digits trainer.lr=0.1",
        "seed=1 data=mnist trainer.lr=0.1",
    ]
    with pytest.raises(nfsim.BuildError, match="data=mnst: unknown"):
        expand(["data=digits,mnst"])
    assert expand(["trainer.lr=interval(0.1,0.2)"])[1] == []


def test_overrides_compose_over_a_stored_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    stored = compose(["model=mlp", "model.hidden=[7]", "trainer.lr=0.5", "network.target=1"][:3])
    path.write_text(OmegaConf.to_yaml(stored))
    read = configuration.read(path)
    assert read == stored
    amended = amend(read, ["data=mnist", "data.batch=9", "trainer.lr=0.25"])
    assert (amended.data.name, amended.data.batch, amended.trainer.lr) == ("mnist", 9, 0.25)
    assert amended.model.hidden == [7]
    assert amended.trainer.epochs == stored.trainer.epochs, "another dataset leaves the training as it was"
    with pytest.raises(nfsim.BuildError, match=r"model\.depth: unknown"):
        amend(read, ["model.depth=2"])


@pytest.mark.parametrize("text", ["", "a: [", "data: 3", "data: {name: digits}\nfuture: 1\n"])
def test_a_foreign_configuration_is_refused(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="not the configuration of a run"):
        configuration.read(path)


def test_presets_get_features_labels_and_ticks_from_the_dataset():
    for data, ticks, features in (("digits", 4, 64), ("mnist", 1, 28)):
        for name in ("hierarchy", "thalamocortical"):
            chosen = settle(compose([f"data={data}", f"network={name}", "seed=3"]))
            network = make_network(chosen, make_data(chosen))
            assert (network.ticks, network.seed, network.name) == (ticks, 3, name)
            assert network.flat.inputs["input"].features == features
            assert chosen.network.ticks == ticks, "the stored configuration says it"


def test_the_baseline_is_built_by_its_settings():
    chosen = settle(compose(["model=mlp", "model.hidden=[4,3]", "model.activation=gelu", "data=mnist"]))
    model = make_model(chosen, make_data(chosen))
    assert (model.hidden, model.activation, model.steps, model.features) == ((4, 3), "gelu", 28, 28)


OWN = """
import nfsim

def small(features, labels, dt, seed, size=5):
    net = nfsim.Network("mine", dt=dt, seed=seed)
    net.add(nfsim.Input("x", features), nfsim.Population("a", size), nfsim.Readout("r", labels))
    net.connect("x", "a")
    return net

def narrow(features): ...
"""


def test_a_network_comes_from_a_file_or_a_function_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(OWN, names)
    expected = names["small"](64, [*"0123456789"], 1.0, 0, size=6)
    path = tmp_path / "my net.json"
    path.write_text(expected.to_json())
    for overrides in (
        ["network=file", f"network.path={path}"],
        ["network=factory", "network.target=own_module.py:small", "network.options.size=6"],
        ["network=factory", "network.target=own_module:small", "network.options={size: 6}"],
    ):
        chosen = settle(compose(overrides))
        assert make_network(chosen, make_data(chosen)).digest() == expected.digest()


def test_free_options_survive_storing(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(compose(["network=factory", "network.target=a:b", "network.options.size=6"])))
    read = settle(amend(configuration.read(path), ["network.options.more=x"]))
    assert isinstance(read.network, FactorySettings)
    assert read.network.options == {"size": 6, "more": "x"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere:build", "cannot be imported"),
        ("nowhere.py:build", "cannot be imported"),
        ("small", "cannot be imported"),
        ("nfsim:build", "nfsim has no function 'build'"),
        ("own.py:narrow", "unexpected keyword argument.*called with features, labels, dt, seed"),
        ("builtins:dict", "returns a dict; return an nfsim.Network"),
    ],
)
def test_a_function_that_builds_no_network_is_refused(target, message, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    chosen = settle(compose(["network=factory", f"network.target={target}"]))
    with pytest.raises(nfsim.BuildError, match=message):
        make_network(chosen, make_data(chosen))


def test_a_file_that_holds_no_network_is_refused(tmp_path):
    path = tmp_path / "net.json"
    chosen = settle(compose(["network=file", f"network.path={path}"]))
    with pytest.raises(FileNotFoundError, match=r"net.json: cannot be read"):
        make_network(chosen, make_data(chosen))
    path.write_text("{}")
    with pytest.raises(nfsim.BuildError, match=r"network.path=.*net.json: network JSON has schema"):
        make_network(chosen, make_data(chosen))


def test_further_folders_may_hold_further_options(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer:\n  epochs: 77\n")
    assert compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"]).trainer.epochs == 77
