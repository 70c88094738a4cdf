"""What may import what: the stages depend in one direction, and `import nfsim` stays light."""

import json
import subprocess
import sys
from collections.abc import Iterable

import pytest

import checkout

HEAVY = {"torch", "numba", "networkx", "scipy", "xarray", "pandas"}
TORCH = {"torch", "torchvision", "torchaudio", "torchmetrics", "lightning", "pytorch_lightning", "triton"}
STDLIB = set(sys.stdlib_module_names)

DECLARATIONS = {"nfsim"} | {
    f"nfsim.{name}"
    for name in ("dynamics", "errors", "network", "population", "rules", "serial", "shuffled", "sphere", "values")
}
WIRING = {"nfsim.checks", "nfsim.graphs", "nfsim.ties", "nfsim.wiring"}
# The stages that come after; neither a declaration nor its wiring may know one of them.
LATER = {
    "nfsim.analysis", "nfsim.cli", "nfsim.compiler", "nfsim.conf", "nfsim.data", "nfsim.models", "nfsim.recording",
    "nfsim.regions", "nfsim.simulation", "nfsim.training",
}  # fmt: skip


def within(name: str, allowed: set[str]) -> bool:
    """Return whether a dotted name is one of the allowed modules or lies inside one."""
    return any(name == one or (one != "nfsim" and name.startswith(one + ".")) for one in allowed)


PARTS = sorted({".".join(module.split(".")[:2]) for module in checkout.modules()})


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(statement: str) -> set[str]:
    return set(json.loads(run(f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))")))


def resolve(name: str) -> str:
    """Return the module that an imported name comes from: public names of `nfsim` lead to where they are defined."""
    if name in checkout.modules():
        return name
    parent, _, last = name.rpartition(".")
    if parent == "nfsim":
        import nfsim

        return getattr(getattr(nfsim, last, None), "__module__", name)
    return parent if parent in checkout.modules() else name


def imports_of(part: str, *, at_import: bool = False) -> list[tuple[str, str]]:
    """Return (module, imported module) for all modules of a part of the product."""
    pairs = []
    for module, file in checkout.modules().items():
        if within(module, {part}):
            for name in checkout.imported_names(file, module, at_import=at_import):
                inside = name.partition(".")[0] == "nfsim"
                pairs.append((module, resolve(name) if inside else name))
    return pairs


def outside(pairs: Iterable[tuple[str, str]]) -> set[str]:
    """Return the third-party packages among the imports."""
    tops = {name.partition(".")[0] for _, name in pairs}
    return tops - STDLIB - {"nfsim", "__future__"}


def inside(pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those imports that stay inside the product."""
    return {(module, name) for module, name in pairs if name.partition(".")[0] == "nfsim"}


def test_importing_nfsim_loads_no_heavy_library():
    assert not loaded_after("import nfsim") & HEAVY


def test_listing_the_public_names_loads_no_heavy_library():
    assert not loaded_after("import nfsim; dir(nfsim); nfsim.__all__") & HEAVY


@pytest.mark.parametrize("part", ["nfsim.regions", "nfsim.analysis", "nfsim.cli"])
def test_declaring_reading_and_asking_for_help_load_no_torch(part):
    assert not loaded_after(f"import {part}") & TORCH


def test_analysis_knows_only_the_recording_schema_and_never_torch():
    pairs = imports_of("nfsim.analysis")
    assert not outside(pairs) & TORCH
    foreign = {(m, name) for m, name in inside(pairs) if not within(name, {"nfsim.analysis", "nfsim.recording"})}
    assert not foreign


def test_regions_know_only_the_declarations():
    pairs = imports_of("nfsim.regions")
    assert not outside(pairs) & (TORCH | HEAVY)
    assert not {(m, name) for m, name in inside(pairs) if not within(name, {"nfsim.regions", *DECLARATIONS})}


def test_models_know_only_torch_and_the_types_of_the_program():
    pairs = imports_of("nfsim.models")
    # The reference finds its own order of the populations, to be no copy of the schedule that it checks.
    own_order = {("nfsim.models.reference", "networkx")}
    # Peers to compare with, each in a file of its own and imported when it is built.
    peers = {("nfsim.models.cfc", "ncps"), ("nfsim.models.ode", "torchdiffeq")}
    pairs = [(module, name) for module, name in pairs if (module, name.partition(".")[0]) not in peers]
    assert outside(set(pairs) - own_order) <= {"torch", "numpy", "numba", "triton", "jaxtyping"}
    types = {"nfsim.compiler.program", *WIRING, *DECLARATIONS}
    assert not {(m, name) for m, name in inside(pairs) if not within(name, {"nfsim.models", *types})}


def test_the_compiler_knows_neither_training_nor_reading():
    known = {name for _, name in inside(imports_of("nfsim.compiler"))}
    later = {"nfsim.analysis", "nfsim.cli", "nfsim.conf", "nfsim.data", "nfsim.recording", "nfsim.training"}
    assert not {name for name in known if within(name, later)}


@pytest.mark.parametrize("module", sorted((DECLARATIONS | WIRING) - {"nfsim"}))
def test_a_declaration_and_its_wiring_know_no_later_stage_and_no_torch(module):
    pairs = imports_of(module)
    assert not outside(pairs) & TORCH
    assert not {name for _, name in inside(pairs) if within(name, LATER)}


def test_nothing_imports_the_command_line():
    importers = {module for part in PARTS for module, name in imports_of(part) if within(name, {"nfsim.cli"})}
    assert importers <= {"nfsim.__main__"} | {m for m in checkout.modules() if within(m, {"nfsim.cli"})}


def test_modules_can_be_imported_in_any_order():
    import networkx as nx

    pairs = {pair for part in PARTS for pair in inside(imports_of(part, at_import=True))}
    graph = nx.DiGraph((module, name) for module, name in pairs if module != name)
    # A package's __init__ re-exports its parts: that edge back is no dependency of the parts on the package.
    graph.remove_edges_from([(a, b) for a, b in graph.edges if a.startswith(b + ".") or b.startswith(a + ".")])
    cycles = [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1]
    assert not cycles


PUBLIC_NAMES = """
import importlib, inspect, json
packages = {name: importlib.import_module(name) for name in PACKAGES}
before = {(p, name): getattr(package, name) for p, package in packages.items() for name in package.__all__}
for module in MODULES:
    importlib.import_module(module)
wrong = {}
for (p, name), first in before.items():
    value = getattr(packages[p], name)
    if value is not first:
        wrong[f"{p}.{name}"] = "another object once every module is imported"
    elif inspect.ismodule(value):
        if f"{p}.{name}" not in LISTED | {"nfsim.regions.presets"}:
            wrong[f"{p}.{name}"] = "a module"
    elif inspect.isroutine(value) or inspect.isclass(value):
        if value.__name__ != name:
            wrong[f"{p}.{name}"] = f"named {value.__name__}"
print(json.dumps(wrong))
"""


def packages_with_public_names() -> list[str]:
    """Return the packages that list their public names in `__all__`."""
    inits = {package: checkout.modules()[package] for package in checkout.listed_packages()}
    return [package for package, file in inits.items() if "__all__" in file.read_text(encoding="utf-8")]


def importable() -> list[str]:
    """Return all modules that this machine can import: kernels for Triton need Triton, which not every system has."""
    import importlib.util

    triton = importlib.util.find_spec("triton") is not None
    found = []
    for module, file in checkout.modules().items():
        needs = {name.partition(".")[0] for name in checkout.imported_names(file, module)}
        if module != "nfsim.__main__" and (triton or "triton" not in needs):
            found.append(module)
    return found


@pytest.mark.slow
def test_each_public_name_stays_what_it_is_when_every_module_is_imported():
    names = (
        f"PACKAGES, LISTED, MODULES = {packages_with_public_names()}, {set(checkout.listed_packages())}, {importable()}"
    )
    assert json.loads(run(f"{names}\n{PUBLIC_NAMES}")) == {}


@pytest.mark.parametrize("package", packages_with_public_names())
def test_no_module_is_named_like_a_public_name(package):
    import importlib

    public = {f"{package}.{name}" for name in importlib.import_module(package).__all__}
    assert public & set(checkout.modules()) <= {*checkout.listed_packages(), "nfsim.regions.presets"}


def test_a_public_name_that_does_not_exist_is_an_attribute_error():
    import nfsim

    with pytest.raises(AttributeError, match="ensemble"):
        _ = nfsim.ensemble
