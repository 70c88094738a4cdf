"""Where datasets lie."""

import os
from pathlib import Path


def data_root(root: str | Path | None = None) -> Path:
    """Folder under which datasets lie, in torchvision's and torchaudio's own layouts.

    `root` where given, else the environment variable `NFSIM_DATA`, else `~/.cache/nfsim`.
    """
    return Path(root or os.environ.get("NFSIM_DATA") or "~/.cache/nfsim").expanduser()
