"""Hydra's files: one folder a group, one file an option; their schema is `nfsim.settings`."""

from pathlib import Path


def groups() -> dict[str, list[str]]:
    """Return the names of the options of every group."""
    folders = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir())
    options = {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}
    return {name: found for name, found in options.items() if found}
