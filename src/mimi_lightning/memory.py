"""What training on a CPU asks of the C library's allocator."""

from __future__ import annotations

import ctypes

# Names of <malloc.h>.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
PAD = 64 << 20  # bytes by which the heap grows


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, for its next step.

    Glibc maps every large tensor anew and hands it back when it is freed, so the system clears all of a step's
    activations page by page, in every step: a quarter of the time of a training step of CLIP on two cores. From here on
    they come from a heap that is never given back; its size is the peak of what is used at once.

    Returns:
        Whether the C library could be told so; others than glibc are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return False
    return all([mallopt(MMAP_MAX, 0), mallopt(TRIM_THRESHOLD, -1), mallopt(TOP_PAD, PAD)])
