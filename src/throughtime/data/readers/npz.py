"""NumPy archives: arrays x, y and lengths in one .npz file."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.arrays import from_arrays
from throughtime.data.readers.options import Options
from throughtime.data.records import Records

DEFLATE_LIMIT = 1032  # no deflated byte becomes more bytes than this (zlib's own technical note)
ALLOWED = ("x", "y", "lengths")

BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError)
"""What Python's reader of archives raises about those that are malformed."""


def read_npz(path: Path, options: Options) -> Records:
    """The arrays of an archive, as `readers.arrays.from_arrays` takes them. Nothing is unpickled, and the size that an
    array's header states is compared with that of the file before memory is taken for it.

    Raises:
        DataError: not an archive, an array that is missing or no plain numbers, sizes that do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                member.filename.removesuffix(".npy"): _read(path, archive, member) for member in archive.infolist()
            }
    except DataError:
        raise
    except BROKEN as error:
        if isinstance(error, OSError) and error.filename is not None:  # the file cannot be opened
            raise
        raise DataError(path, "a NumPy archive (.npz)", " ".join(str(error).split())) from None
    if "x" not in arrays or not set(arrays) <= set(ALLOWED):
        raise DataError(path, "the arrays x and, where there are, y and lengths", ", ".join(sorted(arrays)) or "none")
    return from_arrays(str(path), arrays["x"], arrays.get("y"), arrays.get("lengths"), options)


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    place = f"{path}: {member.filename}"
    packed = (
        member.compress_size if member.compress_type == zipfile.ZIP_STORED else member.compress_size * DEFLATE_LIMIT
    )
    if member.file_size > packed:
        raise DataError(
            place, f"at most {packed} bytes, as it is packed", f"{member.file_size} in the archive's directory"
        )
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError as error:
            raise DataError(place, "a NumPy array", str(error).splitlines()[0]) from None
        stated = file.tell() + math.prod(shape) * dtype.itemsize
    if version != (1, 0):
        raise DataError(place, "a NumPy array in version 1.0 of its format", ".".join(map(str, version)))
    if dtype.kind not in "iufbU":
        raise DataError(place, "numbers or strings", f"the dtype {dtype}")
    if stated != member.file_size:
        raise DataError(place, f"{stated} bytes, as the shape {list(shape)} needs", str(member.file_size))
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
