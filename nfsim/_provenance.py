"""Where a recording comes from: versions, declaration, settings, seed, revision."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


def provenance(*, network: str = "", config: Any = None, seed: int | None = None, **attrs: Any) -> dict[str, Any]:
    """Return the attributes every recording carries: schema and nfsim version, network JSON, config, seed, revision."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        nfsim_version = version("neuralfield-sim")
    except PackageNotFoundError:
        nfsim_version = "unknown"
    found: dict[str, Any] = {"nfsim_version": nfsim_version, "network": network}
    if config is not None:
        found["config"] = config if isinstance(config, str) else json.dumps(config, sort_keys=True)
    if seed is not None:
        found["seed"] = int(seed)
    revision = _git_revision()
    return {**found, **({"git_revision": revision} if revision else {}), **attrs}


def _git_revision() -> str:
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # an environment inside somebody's own checkout must not report that checkout's revision
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""
