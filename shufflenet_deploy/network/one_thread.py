"""One thread for what has to be the same everywhere.

Several threads add up the parts of a sum in an order of their own, which changes its last bits: the
ranges of a calibration, and so the bytes of an int8 file, would depend on the number of processors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one thread, and on as many as before afterwards; also a decorator."""
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
