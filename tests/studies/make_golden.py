"""Write the golden losses anew, after a change that is meant to alter results: python -P tests/studies/make_golden.py.

Needs MNIST under NFSIM_DATA. Say in the pull request why the losses change.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))

import golden

if __name__ == "__main__":
    for name in golden.EXPERIMENTS:
        for backend in ("torch", "reference"):
            golden.store(name, backend)
            sys.stdout.write(f"{golden.FOLDER / name}_{backend}.txt\n")
