"""Command lines from the signatures of plain functions."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

SHORT = {"-m": "--multirun"}


class UsageError(ValueError):
    """A command line that does not fit its command."""


def bind(function: Callable[..., Any], words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Positional and keyword arguments of `function` for the words after its name.

    Plain words fill the positional parameters in order, `key=value` words included, and then `*overrides`;
    keyword-only parameters are flags, `--name VALUE` or, where they are False by default, `--name`.

    >>> def show(run: str, *overrides: str, split: str = "test", quiet: bool = False): ...
    >>> bind(show, ["runs/1", "--split", "train", "data.batch=3", "--quiet"])
    (['runs/1', 'data.batch=3'], {'split': 'train', 'quiet': True})
    """
    name = function.__name__
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    flags = {f"--{p.name}": p for p in parameters if p.kind is p.KEYWORD_ONLY}
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    positional: list[str] = []
    keywords: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            positional.append(word)
            continue
        word, given, value = SHORT.get(word, word).partition("=")
        if word not in flags:
            known = f"its flags are {', '.join(flags)}" if flags else "it has none"
            raise UsageError(f"{name}: unknown flag {word}; {known}; settings are written key=value, without dashes")
        flag = flags[word]
        if isinstance(flag.default, bool):
            keywords[flag.name] = True
        elif given or rest:
            keywords[flag.name] = _converted(name, word, value if given else rest.pop(0), type(flag.default))
        else:
            raise UsageError(f"{name}: {word} lacks its value; write {word} VALUE")
    missing = [p.name.upper() for p in named[len(positional) :] if p.default is p.empty]
    if missing:
        raise UsageError(f"{name}: {', '.join(missing)} missing; see nfsim {name} --help")
    if len(positional) > len(named) and not several:
        raise UsageError(f"{name}: {positional[len(named)]!r} is one word too many; see nfsim {name} --help")
    return positional, keywords


def _converted(name: str, flag: str, value: str, kind: type) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{name}: {flag} {value!r} is not of type {kind.__name__}; give one") from None
