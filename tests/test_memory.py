"""The allocator, in a process of its own: what it is told cannot be taken back."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from mimi_lightning.memory import keep_memory
assert keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(20):
        torch.ones(1 << 22)  # 16 MB
work()  # the heap takes some rounds to settle
before = faults()
work()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_large_tensors_come_from_memory_that_is_kept():
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1000  # of 81,920 pages
