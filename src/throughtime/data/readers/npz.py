"""NumPy's files: arrays x, y and lengths in a .npz archive, or one array in a .npy file."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from throughtime.data.errors import DataError
from throughtime.data.readers.arrays import from_arrays
from throughtime.data.readers.options import Options
from throughtime.data.readers.source import Source
from throughtime.data.records import Records

MAGIC = b"\x93NUMPY"
DEFLATE_LIMIT = 1032  # no deflated byte becomes more bytes than this (zlib's own technical note)
UNPACKED_AT_LEAST, MOST_TIMES = 1 << 28, 100
"""What an archive may become in all: 256 MiB, or a hundred times its size."""
ROLES = {
    "x": ("x", "data", "inputs", "features"),
    "y": ("y", "labels", "label", "targets", "target"),
    "lengths": ("lengths", "length", "seq_len", "lens"),
}
PARTS = {"train": ("train", "tr"), "valid": ("valid", "val", "validation", "dev"), "test": ("test", "te")}
ROLE, PART = ("|".join(name for names in table.values() for name in names) for table in (ROLES, PARTS))
NAME = re.compile(f"(?:({PART})_)?({ROLE})(?:_({PART}))?", re.IGNORECASE)  # as in X_train, test_labels

BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError)
"""What Python's reader of archives raises about those that are malformed."""


def looks_like_npz(source: Source) -> bool:
    """Whether the first file in a ZIP archive is an array."""
    return source.head.startswith(b"PK\x03\x04") and b".npy" in source.head[:300]


def read_npz(source: Source, options: Options) -> Mapping[str, Records]:
    """The arrays of an archive, as `readers.arrays.from_arrays` takes them: x, y and lengths (or inputs, labels and the like),
    or those of parts, as X_train and y_test. Nothing is unpickled, and names and sizes are checked before anything is unpacked.

    Raises:
        DataError: not an archive, an array that is missing or no plain numbers, sizes that do not fit together.
    """
    try:
        with source.binary() as file, zipfile.ZipFile(file) as archive:
            members = _chosen(source, archive)
            arrays = {key: _read(f"{source}: {member.filename}", archive, member) for key, member in members.items()}
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(source.name, "a NumPy archive (.npz)", " ".join(str(error).split())) from None
    parts = {part: {role: arrays[own, role] for own, role in arrays if own == part} for part in PARTS}
    return {
        part: from_arrays(
            str(source) if len({own for own, _ in arrays}) == 1 else f"{source}: {part}",
            own["x"],
            own.get("y"),
            own.get("lengths"),
            options,
        )
        for part, own in parts.items()
        if own
    }


def read_npy(source: Source, options: Options) -> Records:
    """One array: a series [T] or [T, n], or sequences [S, T, n].

    Raises: DataError: no plain array.
    """
    with source.binary() as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        array = _array(source.name, file, size)
    return from_arrays(str(source), array, None, None, options)


def _chosen(source: Source, archive: zipfile.ZipFile) -> dict[tuple[str, str], zipfile.ZipInfo]:
    """The members by part and role."""
    members = archive.infolist()
    names = [member.filename.removesuffix(".npy") for member in members]
    matches = [NAME.fullmatch(name) for name in names]
    expected = "the arrays x and, where there are, y and lengths, or X_train, y_train, X_test and so on"
    if not members or not all(matches):
        raise DataError(source.name, expected, ", ".join(sorted(names))[:200] or "none")
    found: dict[tuple[str, str], zipfile.ZipInfo] = {}
    for match, member in zip(matches, members):
        assert match is not None
        key = _of(PARTS, match[1] or match[3] or "train"), _of(ROLES, match[2])
        if key in found:
            raise DataError(source.name, expected, f"{found[key].filename} and {member.filename}")
        found[key] = member
    if any((part, "x") not in found for part, _ in found) or ("train", "x") not in found:
        raise DataError(source.name, expected, ", ".join(sorted(names))[:200])
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if unpacked > max(UNPACKED_AT_LEAST, MOST_TIMES * packed):
        raise DataError(source.name, f"at most {MOST_TIMES} times its {packed:,} bytes, unpacked", f"{unpacked:,}")
    return found


def _of(table: Mapping[str, tuple[str, ...]], name: str) -> str:
    return next(key for key, names in table.items() if name.lower() in names)


def _read(place: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    packed = (
        member.compress_size if member.compress_type == zipfile.ZIP_STORED else member.compress_size * DEFLATE_LIMIT
    )
    if member.file_size > packed:
        raise DataError(
            place, f"at most {packed} bytes, as it is packed", f"{member.file_size} in the archive's directory"
        )
    with archive.open(member) as file:
        return _array(place, file, member.file_size)  # type: ignore[arg-type]


def _array(place: str, file: BinaryIO, size: int) -> np.ndarray:
    """The array of an open file of `size` bytes, which are compared with what its header states before memory is taken."""
    try:
        version = np.lib.format.read_magic(file)
        width, read = (
            (2, np.lib.format.read_array_header_1_0) if version == (1, 0) else (4, np.lib.format.read_array_header_2_0)
        )
        length = int.from_bytes(file.read(width), "little")
        if length > size:
            raise ValueError(f"a header of {length:,} bytes")
        file.seek(-width, io.SEEK_CUR)
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise DataError(place, "a NumPy array", str(error).splitlines()[0]) from None
    stated = file.tell() + math.prod(shape) * dtype.itemsize
    if dtype.kind == "O":
        expected = "numbers or strings: save sequences of different lengths one after another, x = np.concatenate(list)"
        raise DataError(
            place, f"{expected}, with lengths = [len(s) for s in list]", "the dtype object, which could run code"
        )
    if dtype.kind not in "iufbUS":
        raise DataError(place, "numbers or strings", f"the dtype {dtype}")
    if stated != size:
        raise DataError(place, f"{stated} bytes, as the shape {list(shape)} needs", str(size))
    array = np.frombuffer(file.read(), dtype) if math.prod(shape) else np.empty(0, dtype)
    array = array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
    return np.char.decode(array, "utf-8") if dtype.kind == "S" else array
