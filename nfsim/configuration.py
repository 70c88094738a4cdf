"""From `key=value` to settings: composes the files of `nfsim/conf`, and says all that is wrong at once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from nfsim.conf import groups
from nfsim.consistency import problems
from nfsim.errors import BuildError
from nfsim.settings import SCHEMAS, Settings

# keys below these take any name, so that Hydra must be told to add them
_OPEN = ("network.options",)


def register() -> None:
    """Make the dataclasses of `nfsim.settings` known to Hydra as the group `schema`."""
    store = ConfigStore.instance()
    store.store(group="schema", name="settings", node=Settings, package="_global_")
    for group, options in SCHEMAS.items():
        for name, schema in options.items():
            store.store(group=f"schema/{group}", name=name, node=schema)


def compose(overrides: Iterable[str] = ()) -> DictConfig:
    """Configuration of a run from overrides such as `data=mnist` or `trainer.lr=1e-3`.

    Raises
    ------
    BuildError
        Unknown groups, options and keys, and values of the wrong type, all together.
    """
    with _hydra():
        items, found = _parsed(overrides)
        chosen, values = _split(items)
        config = _composed(chosen)
    found += _apply(config, values)
    if found:
        raise BuildError(found)
    return config


def expand(overrides: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Overrides of a sweep as Hydra takes them, and those of each of its runs, such as two for `seed=0,1`.

    Where only the sweeper can tell the runs, as for an interval, there are none.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    with _hydra():
        items, found = _parsed(overrides, sweep=True)
    if found:
        raise BuildError(found)
    lines = [item.input_line for item in items if item.input_line]
    if any(item.is_sweep_override() and not item.is_discrete_sweep() for item in items):
        return lines, []
    return lines, BasicSweeper.split_arguments(items, None)[0]


def settle(config: DictConfig) -> Settings:
    """Settings of a resolved configuration; every rule that they break is reported at once."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise BuildError(f"{key}: not given; add {key}=..." for key in missing)
    try:
        settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise BuildError(_line(error)) from error
    assert isinstance(settings, Settings)
    found = problems(settings)
    if found:
        raise BuildError(found)
    return settings


def read(path: Path) -> DictConfig:
    """Return the configuration that a run stored."""
    try:
        stored = OmegaConf.load(path)
        config = OmegaConf.structured(Settings)
        for group, schemas in SCHEMAS.items():
            config[group] = OmegaConf.structured(schemas[OmegaConf.select(stored, f"{group}.name")])
        merged = OmegaConf.merge(config, stored)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file; name the folder of a run") from None
    except Exception as error:  # YAML's, OmegaConf's and look-ups alike mean that it is not what a run stores
        raise ValueError(f"{path}: not the configuration of a run of this version ({_line(error)})") from error
    assert isinstance(merged, DictConfig)
    OmegaConf.set_struct(merged, True)
    return merged


def amend(config: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """Return a stored configuration with overrides on top; an option such as `data=mnist` replaces its whole group."""
    amended = config.copy()
    with _hydra():
        items, found = _parsed(overrides)
        chosen, values = _split(items)
        composed = _composed(chosen)
    for group in {item.key_or_group for item in chosen} & set(amended):
        amended[group] = composed[group]
    found += _apply(amended, values)
    if found:
        raise BuildError(found)
    return amended


@contextmanager
def _hydra() -> Iterator[None]:
    register()
    with initialize_config_module("nfsim.conf", version_base="1.3"):
        yield


def _composed(overrides: Iterable[Override]) -> DictConfig:
    try:
        return hydra_compose("config", [item.input_line for item in overrides if item.input_line])
    except (HydraException, OmegaConfBaseException) as error:
        raise BuildError(_line(error)) from error


def _parsed(overrides: Iterable[str], sweep: bool = False) -> tuple[list[Override], list[str]]:
    """Overrides that can be read, and what is wrong with the others."""
    overrides = list(overrides)
    parser, known = OverridesParser.create(), groups()
    if any(text.startswith("hydra.searchpath=") for text in overrides):
        known = {group: [] for group in known}  # further folders may hold further options: Hydra looks them up
    items, found = [], []
    for text in overrides:
        try:
            (item,) = parser.parse_overrides([f"++{text}" if text.startswith(_OPEN) else text])
        except HydraException:
            found.append(f"{text}: not KEY=VALUE; quote a value that holds commas or brackets, as 'KEY=\"a, b\"'")
            continue
        wrong = [*_override_problems(item, text, known, sweep)]
        found += wrong
        items += [] if wrong else [item]
    return items, found


def _override_problems(item: Override, text: str, known: dict[str, list[str]], sweep: bool) -> Iterator[str]:
    key = item.key_or_group
    if item.is_sweep_override() and not sweep:
        yield f"{text}: several values; add -m to run them all, or quote the value"
    elif item.is_delete():
        yield f"{text}: cannot be left out; " + (
            f"it takes one of {', '.join(known[key])}" if key in known else "give it another value"
        )
    elif key in known:
        values = item.sweep_string_iterator() if item.is_discrete_sweep() else [item.value()]
        for option in values:
            if known[key] and option is not None and option not in known[key]:
                yield f"{key}={option}: {_known(str(option), known[key], f'options of {key}')}"
    elif not key.startswith("hydra") and "/" in key:
        yield f"{text}: {_known(key, known, 'groups')}"


def _split(items: Iterable[Override]) -> tuple[list[Override], list[Override]]:
    """Overrides that choose an option of a group, or how Hydra runs, and those that set a value of ours."""
    known = groups()
    chosen = [item for item in items if item.key_or_group in known or item.key_or_group.startswith("hydra")]
    return chosen, [item for item in items if item not in chosen]


def _apply(config: DictConfig, values: Iterable[Override]) -> list[str]:
    """Set the values in `config`, and return what is wrong with those that cannot be set."""
    found = []
    for item in values:
        key = item.key_or_group
        try:
            OmegaConf.update(config, key, item.value(), force_add=item.is_force_add())
        except ValidationError as error:
            found.append(f"{key}={item.get_value_element_as_str()}: {_line(error)}")
        except (OmegaConfBaseException, TypeError):
            found.append(f"{key}: {_unknown(config, key)}")
    return found


def _unknown(config: Any, key: str) -> str:
    """Say which keys there are at the point where `key` leaves the configuration."""
    path = key.split(".")
    for depth, part in enumerate(path):
        if not isinstance(config, DictConfig):
            return f"{'.'.join(path[:depth])} has no parts; set it whole"
        if part not in config:
            where = f"keys of {'.'.join(path[:depth])}" if depth else "keys"
            return _known(part, (str(name) for name in config), where)
        config = config._get_node(part)
    return "cannot be set as a whole; set its parts"


def _known(name: str, names: Iterable[str], what: str) -> str:
    names = sorted(names)
    close = get_close_matches(name, names, 1)
    return f"unknown; {what}: {', '.join(names) or 'none'}" + (f" (did you mean {close[0]}?)" if close else "")


def _line(error: BaseException) -> str:
    """Return the first line of an error's message, which is the part meant for a reader."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
