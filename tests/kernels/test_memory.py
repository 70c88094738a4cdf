"""Memory that is kept is not faulted in again."""

import platform
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_kept_memory_is_not_faulted_in_again():
    script = """
        import resource
        import numpy as np
        from nfsim.models.kernels.memory import keep_freed_memory

        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(4):
                np.empty(1 << 24, np.float32).fill(1)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        faults()
        given_back = faults()
        assert keep_freed_memory()
        faults()
        kept = faults()
        assert kept < given_back / 10, (given_back, kept)
        """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
