"""One folder of compiled kernels for all workers, so that each kernel is compiled once and not once in each of them.

numba's cache alone is not safe for that (numba#4807): of two processes that save kernels of one function at a time, one
can write the index and the other the code under that name. Here whoever looks a kernel up, compiles it and saves it
holds a lock on its function meanwhile; the next one finds it in the folder.

The folder is named by the sources of all kernels: numba itself looks only at the file of the function that it compiles,
and not at those of the functions that are inlined into it.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checkout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def sources() -> str:
    """Return a digest of all modules that numba compiles."""
    texts = (file.read_bytes() for file in checkout.modules().values())
    kernels = (text for text in texts if b"import numba" in text)
    return hashlib.sha256(b"".join(kernels)).hexdigest()[:16]


def choose_folder(worker: str) -> None:
    """Set numba's folder, before numba is imported: shared where processes can lock, else one for each worker."""
    root = Path(os.environ.get("NUMBA_CACHE_DIR", checkout.ROOT / ".pytest_cache" / "numba")) / sources()
    os.environ["NUMBA_CACHE_DIR"] = str(root if fcntl else root / worker)


def install() -> None:
    """Hold the lock of a function in whatever numba compiles from now on, where its result is kept."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    if fcntl is None:
        return
    folder = Path(os.environ["NUMBA_CACHE_DIR"], "locks")
    folder.mkdir(parents=True, exist_ok=True)
    compile_alone, held = Dispatcher.compile, set()

    @contextlib.contextmanager
    def locked(function: Callable[..., Any]) -> Iterator[None]:
        code = function.__code__
        key = hashlib.sha256(f"{code.co_filename}:{code.co_firstlineno}".encode()).hexdigest()
        if key in held:  # a function that calls itself
            yield
            return
        with open(folder / key, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            held.add(key)
            try:
                yield
            finally:
                held.remove(key)  # closing the file gives the lock back

    @functools.wraps(compile_alone)
    def compile_once(self: Any, signature: Any) -> Any:
        if not self._cache.cache_path:  # nothing of it is kept
            return compile_alone(self, signature)
        # numba's own lock first: of two threads each could otherwise hold the lock that the other waits for.
        with global_compiler_lock, locked(self.py_func):
            return compile_alone(self, signature)

    Dispatcher.compile = compile_once
