"""Reading tensors from files that are not trusted."""

from __future__ import annotations

from pathlib import Path

import torch

MOST_HEADER = 1 << 20  # bytes; the header of a safetensors file lists its tensors, of which a model has some dozens


def read_tensors(path: Path, content: bytes | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name. Takes at most three times the memory of the file, whatever its header claims.

    Args:
        path: the file; begins the message of an error.
        content: what is in it, where that has been read already.

    Raises:
        ValueError: not a safetensors file, or one that is damaged.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = path.read_bytes() if content is None else content
    header = int.from_bytes(content[:8], "little")
    if len(content) < 8 or header > min(len(content) - 8, MOST_HEADER):
        raise ValueError(f"{path}: expected a safetensors file, found {len(content)} bytes with another header")
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: expected a safetensors file, found: {' '.join(str(error).split())}") from error
