"""What a run was computed on and with, in a few words."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from nfsim._provenance import _git_revision
from nfsim.settings import Device


@cache
def revision() -> str:
    """Git revision of nfsim, 12 digits, with a + where its files differ from it; "release VERSION" without git.

    Asked once, before a run starts: what the process has loaded does not change when the files do.
    """
    import nfsim

    found = _git_revision()
    if not found:
        return f"release {nfsim.__version__}"
    root = Path(nfsim.__file__).parent.parent
    folders = ["nfsim", "models", "regions"]
    changed = subprocess.run(["git", "-C", str(root), "diff", "--quiet", "HEAD", "--", *folders], check=False)
    return found[:12] + ("+" if changed.returncode else "")


@cache
def hardware(device: Device = Device.auto) -> str:
    """Name of the processor that a device stands for, such as "Xeon, 2 cores" or "NVIDIA H200"."""
    import torch

    if device in (Device.auto, Device.cuda) and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if device is Device.mps or (device is Device.auto and torch.backends.mps.is_available()):
        return f"{platform.machine()} mps"
    return f"{_processor()}, {_threads()}"


def _threads() -> str:
    import torch

    n = torch.get_num_threads()
    return f"{n} thread{'' if n == 1 else 's'} of {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return " ".join(next(names, platform.machine()).replace(",", " ").split())
