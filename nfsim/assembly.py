"""From settings to what they describe: dataset, declaration and model."""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nfsim import baselines
from nfsim.baselines import BASELINES, plain
from nfsim.compiler import compile
from nfsim.data.abstract import AbstractData
from nfsim.data.randomness import epoch_seed
from nfsim.data.registry import DATASETS
from nfsim.dynamics import Uniform
from nfsim.errors import BuildError
from nfsim.models.ctm import CTM
from nfsim.models.model import AbstractModel
from nfsim.models.ode import ODE
from nfsim.network import Network
from nfsim.settings import CTMSettings, FactorySettings, FileSettings, ODESettings, Settings

FRAME_TICKS = 4
"""Ticks for which a single frame is held, where none are given."""
FRAME_BIAS, SLOW_BIAS = 0.0, -5.0
"""Bias of the update rate of `thalamocortical`, for a frame and for a sequence, where none is given."""


def make_data(settings: Settings) -> AbstractData:
    """Dataset of a run; nothing is read yet."""
    options = plain(settings.data)
    return DATASETS[options.pop("name")](**options, seed=settings.seed)


def resolve(settings: Settings, data: AbstractData) -> None:
    """Put numbers where the settings leave the choice to the dataset, so that a run's record says all."""
    network, frame = settings.network, data.steps == 1
    if getattr(network, "ticks", 1) is None:
        network.ticks = FRAME_TICKS if frame else 1
    if getattr(network, "bias", 0.0) is None:
        network.bias = FRAME_BIAS if frame else SLOW_BIAS


def make_network(settings: Settings, data: AbstractData) -> Network:
    """Declaration of a run, for the features, labels and step of its dataset."""
    resolve(settings, data)
    options = asdict(settings.network)
    return NETWORKS[options.pop("name")](settings, data, options)


def make_model(settings: Settings, data: AbstractData) -> nn.Module:
    """Model of a run, on the CPU, with initial values from its seed."""
    return MODELS[settings.model.name](settings, data)


def _preset(name: str) -> Callable[[Settings, AbstractData, dict[str, Any]], Network]:
    def build(settings: Settings, data: AbstractData, options: dict[str, Any]) -> Network:
        from nfsim.regions import presets

        plain = {key: _plain(value, key) for key, value in options.items()}
        return getattr(presets, name)(data.features, data.labels, seed=settings.seed, dt=data.dt, **plain)

    return build


def _plain(value: Any, name: str) -> Any:
    """A setting as a preset takes it: the name of a choice, and a distribution for its bounds."""
    if isinstance(value, list):
        if len(value) != 2:
            raise BuildError(f"network.{name}={value}: has {len(value)} values; give the lowest and the highest")
        return Uniform(*value)
    return value.name if isinstance(value, Enum) else value


def _file(settings: Settings, data: AbstractData, options: dict[str, Any]) -> Network:
    assert isinstance(settings.network, FileSettings)
    path = Path(settings.network.path).expanduser()
    try:
        return Network.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileNotFoundError(
            f"network.path={path}: cannot be read ({error.strerror}); name a file written by Network.to_json"
        ) from error
    except UnicodeDecodeError:
        raise BuildError(f"network.path={path}: not a text file; name a file written by Network.to_json") from None
    except BuildError as error:
        raise BuildError(f"network.path={path}: {problem}" for problem in error.problems) from None


def _factory(settings: Settings, data: AbstractData, options: dict[str, Any]) -> Network:
    assert isinstance(settings.network, FactorySettings)
    target = settings.network.target
    build = _found(target)
    try:
        network = build(
            features=data.features, labels=data.labels, dt=data.dt, seed=settings.seed, **settings.network.options
        )
    except TypeError as error:
        raise BuildError(
            f"network.target={target}: {error}; it is called with features, labels, dt, seed and network.options"
        ) from error
    if not isinstance(network, Network):
        raise BuildError(f"network.target={target}: returns a {type(network).__name__}; return an nfsim.Network")
    return network


def _found(target: str) -> Callable[..., Any]:
    """Return the function that `package.module:function` or `path/to/file.py:function` names."""
    where, _, name = target.rpartition(":")
    cure = "name it as package.module:function or path/to/file.py:function"
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, Path(where).expanduser())
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(spec.name, module)  # dataclasses look their module up
            spec.loader.exec_module(module)
        else:
            here = str(Path.cwd())
            sys.path.append(here)  # last, so that nothing installed is shadowed by a folder at hand
            try:
                module = importlib.import_module(where)
            finally:
                sys.path.remove(here)
    except (ImportError, FileNotFoundError, ValueError) as error:
        raise BuildError(f"network.target={target}: cannot be imported ({error}); {cure}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise BuildError(f"network.target={target}: {where} has no function {name!r}; {cure}")
    return function


def _compiled(settings: Settings, data: AbstractData) -> AbstractModel:
    return compile(make_network(settings, data), device="cpu")


def _ctm(settings: Settings, data: AbstractData) -> nn.Module:
    model = settings.model
    assert isinstance(model, CTMSettings)
    torch.manual_seed(epoch_seed(settings.seed, -1))
    return CTM(_compiled(settings, data), model.pairs, model.population)


def _ode(settings: Settings, data: AbstractData) -> nn.Module:
    model = settings.model
    assert isinstance(model, ODESettings)
    return ODE(_compiled(settings, data), model.method.name, model.rtol, model.atol)


def _rebuilt(kind: Callable[..., nn.Module], text: str) -> nn.Module:
    """Model around a declared network, of what its `to_json` wrote."""
    options = json.loads(text)
    return kind(compile(Network.from_json(json.dumps(options.pop("network"))), device="cpu"), **options)


NETWORKS: dict[str, Callable[[Settings, AbstractData, dict[str, Any]], Network]] = {
    "hierarchy": _preset("hierarchy"),
    "thalamocortical": _preset("thalamocortical"),
    "file": _file,
    "factory": _factory,
}
MODELS: dict[str, Callable[[Settings, AbstractData], nn.Module]] = {
    "network": _compiled,
    **BASELINES,
    "ctm": _ctm,
    "ode": _ode,
}
KINDS: dict[str, Callable[[str], nn.Module]] = {
    "network": lambda text: compile(Network.from_json(text), device="cpu"),
    **baselines.KINDS,
    "CTM": lambda text: _rebuilt(CTM, text),
    "ODE": lambda text: _rebuilt(ODE, text),
}
"""{kind in a checkpoint: model of its declaration}."""
