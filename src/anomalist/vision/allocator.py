"""Keep freed memory instead of giving it back to the system after every layer of a network."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)


@cache
def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep large blocks for the next use; does nothing elsewhere.

    By default blocks above some megabytes are mapped and unmapped each time, and the kernel clears every page
    again: half of the processor time of a network that works on pictures. ``MALLOC_MMAP_THRESHOLD_`` and
    ``MALLOC_TRIM_THRESHOLD_`` in the environment would do the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, 1 << 30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
