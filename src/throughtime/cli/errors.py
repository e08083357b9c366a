"""What goes wrong, in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """Ends the command with one line on standard error and an exit status."""

    status = 1


class Refused(CommandError):
    """The command line, the configuration or the data is wrong."""

    status = 2


@contextmanager
def refusing() -> Iterator[None]:
    """Within the block, a wrong value, shape, type or file is the fault of what the command was given; a full disk is not."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise (CommandError if full else Refused)(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """The message of an exception, on one line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name is not None and str(error).startswith("No module named"):
        return f"expected the package {error.name}, which is not installed: pip install 'throughtime[cli]'"
    return " ".join(str(error).split()) or type(error).__name__
