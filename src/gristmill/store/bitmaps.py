"""Numbers as bitmaps: positions in a file in 32 bits, row ids in 64."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from pyroaring import BitMap, BitMap64

if TYPE_CHECKING:
    import numpy as np


def bitmap(positions: np.ndarray) -> BitMap:
    """Return positions in a file as a bitmap; an ``array`` is taken in whole, any other sequence number by number."""
    return BitMap(array("I", positions.astype("<u4").tobytes()))


def bitmap64(ids: np.ndarray) -> BitMap64:
    """Return row ids as a bitmap."""
    return BitMap64(array("Q", ids.astype("<u8").tobytes()))
