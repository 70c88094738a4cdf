"""What setup.cfg says of this checkout: which import name lies in which folder.

Read from the source tree and not through imports, so that it tells the truth before anything is imported.
"""

import ast
import configparser
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def setup_cfg() -> configparser.ConfigParser:
    """Return setup.cfg, parsed."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


@cache
def package_dir() -> dict[str, Path]:
    """Return the mapping of setup.cfg: import name -> folder in the repository."""
    lines = setup_cfg()["options"]["package_dir"].split("\n")
    pairs = [line.split("=") for line in lines if line.strip()]
    return {name.strip(): ROOT / folder.strip() for name, folder in pairs}


@cache
def listed_packages() -> list[str]:
    """Return the packages that setup.cfg lists, in its order."""
    return setup_cfg()["options"]["packages"].split()


def folder_of(package: str) -> Path:
    """Return the folder of a listed package: the longest mapped prefix, then the rest of the name."""
    mapping = package_dir()
    prefix, rest = package, []
    while prefix not in mapping:
        prefix, _, last = prefix.rpartition(".")
        rest.insert(0, last)
    return mapping[prefix].joinpath(*rest)


@cache
def modules() -> dict[str, Path]:
    """Return every module of the listed packages: import name -> source file; a package stands under its own name."""
    found = {}
    for package in listed_packages():
        for file in sorted(folder_of(package).glob("*.py")):
            found[package if file.stem == "__init__" else f"{package}.{file.stem}"] = file
    return found


@cache
def imported_names(file: Path, module: str, *, at_import: bool = False) -> tuple[str, ...]:
    """Return what a source file imports as absolute dotted names; `from a import b` gives `a.b`.

    With `at_import` only what runs when the module is imported: neither inside functions nor for type checkers alone.
    """
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = []
    for node in nodes(ast.parse(file.read_text(encoding="utf-8")), at_import):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{origin}.{alias.name}" for alias in node.names]
    return tuple(names)


def nodes(tree: ast.AST, at_import: bool) -> Iterator[ast.AST]:
    """Yield all nodes below a tree, or those that run at import."""
    for node in ast.iter_child_nodes(tree):
        if at_import and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        ):
            continue
        yield node
        yield from nodes(node, at_import)
