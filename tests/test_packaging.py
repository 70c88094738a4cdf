"""The explicit package list has no holes, and nothing but `nfsim` is installed."""

import ast
import importlib.metadata
import re
import sys
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

import checkout

ROOT = checkout.ROOT
SKIPPED = {"__pycache__", "build", "dist"}


def requirement_name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def requirements(text: str) -> set[str]:
    return {requirement_name(line) for line in text.strip().splitlines()}


def data_files() -> list[Path]:
    folders = {checkout.folder_of(package) for package in checkout.listed_packages()}
    files = {file for folder in folders for file in folder.rglob("*") if file.is_file() and file.suffix != ".py"}
    return sorted(file for file in files if not SKIPPED & set(file.parts))


def test_the_listed_packages_are_those_on_disk():
    on_disk = set()
    for name, folder in checkout.package_dir().items():
        for init in folder.rglob("__init__.py"):
            on_disk.add(".".join([name, *init.parent.relative_to(folder).parts]))
    assert set(checkout.listed_packages()) == on_disk


def test_no_module_lies_in_a_folder_that_is_not_a_package():
    folders = {checkout.folder_of(package) for package in checkout.listed_packages()}
    for folder in checkout.package_dir().values():
        stray = {file for file in folder.rglob("*.py") if file.parent not in folders}
        assert not stray, f"{sorted(stray)}: no __init__.py beside it, so the wheel leaves it out"


def test_only_nfsim_is_installed_at_top_level():
    assert {package.partition(".")[0] for package in checkout.listed_packages()} == {"nfsim"}
    assert importlib.metadata.distribution("neuralfield-sim").read_text("top_level.txt").split() == ["nfsim"]


def test_the_folders_of_the_parts_cannot_be_imported_as_packages_of_their_own():
    # The tests run with neither the repository root nor a copy of it on sys.path: were it there, `import models` would
    # make a second copy of every class.
    assert ROOT not in {Path(entry).resolve() for entry in sys.path if entry}


def test_every_file_that_is_not_python_is_declared_as_package_data():
    patterns = [p.strip() for p in checkout.setup_cfg()["options.package_data"]["nfsim"].split(",")]
    matched = {file for pattern in patterns for file in (ROOT / "nfsim").glob(pattern)}
    assert (ROOT / "nfsim" / "py.typed") in matched
    assert set(data_files()) <= matched


def test_the_configuration_is_installed_beside_the_code():
    import nfsim.conf

    on_disk = {file.name for file in (ROOT / "nfsim" / "conf").rglob("*.yaml")}
    installed = {file.name for file in Path(nfsim.conf.__path__[0]).rglob("*.yaml")}
    assert on_disk
    assert installed == on_disk


def test_the_distribution_and_the_package_say_the_same_version():
    import nfsim

    assert importlib.metadata.version("neuralfield-sim") == nfsim.__version__
    assert re.search(rf"^version: {re.escape(nfsim.__version__)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def test_the_command_leads_to_the_command_line():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="nfsim")
    assert callable(script.load())


def third_party(file: Path, module: str) -> set[str]:
    tops = {name.partition(".")[0] for name in checkout.imported_names(file, module)}
    return tops - set(sys.stdlib_module_names) - {"nfsim", "__future__"}


@cache
def distributions() -> dict[str, list[str]]:
    return importlib.metadata.packages_distributions()


def providers(top: str) -> set[str]:
    return {requirement_name(d) for d in distributions().get(top, [top])}


EXTRA_OF = {"nfsim.models.cfc": "peers", "nfsim.models.ode": "ode"}
"""Modules that need an extra, which they import when a model is built, and name where it is missing."""


@pytest.mark.parametrize("module", checkout.modules())
def test_whatever_a_module_imports_is_a_declared_dependency(module):
    declared = requirements(checkout.setup_cfg()["options"]["install_requires"])
    # torch itself requires triton where triton exists, and hydra-core requires omegaconf.
    declared |= {"triton", "omegaconf"}
    extras = checkout.setup_cfg()["options.extras_require"]
    declared |= requirements(extras[EXTRA_OF[module]]) if module in EXTRA_OF else set()
    for top in third_party(checkout.modules()[module], module):
        assert providers(top) & declared, f"{module} imports {top}: add it to install_requires in setup.cfg"


def test_whatever_the_tests_import_is_a_dependency_or_in_the_test_extra():
    config = checkout.setup_cfg()
    declared = requirements(config["options"]["install_requires"]) | {"triton", "omegaconf"}
    declared |= requirements(config["options.extras_require"]["test"])
    # What peers say is computed once, by scripts that no test runs; mne-connectivity itself requires mne.
    peers = declared | requirements(config["options.extras_require"]["peers"]) | {"mne"}
    own = {file.stem for folder in ("tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")}
    for file in (ROOT / "tests").rglob("*.py"):
        extra, allowed = ("peers", peers) if file.name.startswith("make_") else ("test", declared)
        for top in third_party(file, file.stem) - own:
            assert providers(top) & allowed, f"{file.relative_to(ROOT)} imports {top}: add it to the {extra} extra"


def test_the_type_checker_sees_every_part(tmp_path):
    script = (ROOT / ".ci" / "typing.sh").read_text()
    assert "*/__init__.py" in script
    tops = {PurePosixPath(folder.relative_to(ROOT)).parts[0] for folder in checkout.package_dir().values()}
    assert tops == {init.parent.name for init in ROOT.glob("*/__init__.py")}


def test_test_files_of_the_same_name_can_stand_in_two_folders():
    # importlib mode needs no __init__.py in tests/; one of them would put the repository root on sys.path.
    assert "--import-mode=importlib" in checkout.setup_cfg()["tool:pytest"]["addopts"]
    assert not list((ROOT / "tests").rglob("__init__.py"))


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_never_installs_the_other_project_of_that_name():
    assert not re.search(r"pip3? install (-\S+ )*[\"']?nfsim\b", readme())


def test_the_readme_gives_exactly_two_set_up_commands():
    commands = re.findall(r"^pip install .*$", readme(), re.MULTILINE)
    assert commands == ["pip install -e . && nfsim train", 'pip install -e ".[test]" && pytest']


def test_every_relative_link_of_the_documents_leads_somewhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_module_says_what_it_is():
    for name, file in checkout.modules().items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{name}: no docstring; say in one line what the module is for"
