"""The page's data as Python reads it: an independent decoder of what `assets/data.js` decodes."""

import base64
import gzip
import json
import re
import struct
from typing import Any

import numpy as np


def block(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Meta and arrays of a block."""
    raw = gzip.decompress(data)
    [length] = struct.unpack("<I", raw[:4])
    described = json.loads(raw[4 : 4 + length])
    arrays = {}
    for name, (dtype, shape, offset) in described["arrays"].items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        start = 4 + length + offset
        arrays[name] = np.frombuffer(raw[start : start + size], np.dtype(dtype).newbyteorder("<")).reshape(
            shape
        )
    return described["meta"], arrays


def blocks(html: str) -> dict[str, tuple[Any, dict[str, np.ndarray]]]:
    """All blocks inside a page, by name."""
    found = re.findall(r'<script type="application/octet-stream" id="block ([^"]+)">([^<]*)</script>', html)
    return {name: block(base64.b64decode(text)) for name, text in found}


def planes(coded: np.ndarray, first: int, per_group: int) -> np.ndarray:
    """int64 [P, I], a layer's planes from the array `planes`, whose languages begin at plane `first` of a group."""
    values = sum(coded[b].astype(np.int64) << (8 * b) for b in range(len(coded)))
    for p in range(len(values)):
        if p % per_group > first:
            difference = np.where(values[p] % 2 == 1, -(values[p] + 1) // 2, values[p] // 2)
            values[p] = values[p - 1] + difference
    return values
