"""Hold a wheel against the checkout: python .ci/check_wheel.py WHEEL."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import checkout  # noqa: E402


def expected() -> set[str]:
    """Return the paths that the wheel must hold: each module and each data file of the listed packages."""
    paths = set()
    for package in checkout.listed_packages():
        for file in checkout.folder_of(package).iterdir():
            if file.is_file() and file.suffix not in {".pyc", ".pyo"}:
                paths.add("/".join([*package.split("."), file.name]))
    conf = checkout.folder_of("nfsim.conf")
    return paths | {f"nfsim/conf/{file.relative_to(conf).as_posix()}" for file in conf.rglob("*.yaml")}


def main(wheel: str) -> None:
    """Exit with the difference, if there is one."""
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    about = {name for name in inside if name.partition("/")[0].endswith(".dist-info")}
    wrong = {
        "only in the wheel": sorted(inside - about - expected()),
        "not in the wheel": sorted(expected() - inside),
        "beside nfsim": sorted({name.partition("/")[0] for name in inside - about} - {"nfsim"}),
    }
    problems = [f"{Path(wheel).name}: {what}: {', '.join(names)}" for what, names in wrong.items() if names]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{Path(wheel).name}: {len(inside - about)} files, all of nfsim")


main(*sys.argv[1:])
