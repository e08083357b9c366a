"""The command line: parse, call, print; one module per verb.

Results go to standard output, progress and messages to standard error. Exit status: 0 done; 1 the work failed; 2 the command
line, the configuration or the data is wrong (one line); 130 interrupted (Ctrl-C); 143 ended by SIGTERM, 129 by SIGHUP: a
training writes a checkpoint first.

Nothing here imports torch or numpy: a verb does, when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

VERBS = ("look", "train", "evaluate", "predict", "anatomy", "export", "reproduce", "bench", "doctor")
"""Each is a function of its own name in `throughtime.cli.<verb>`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name; `sys.argv` where None) and return its exit status."""
    from throughtime.cli.errors import CommandError, one_line
    from throughtime.cli.signals import ended_by_signals
    from throughtime.cli.terminal import Visible, say

    try:
        with ended_by_signals(), redirect_stdout(Visible(sys.stdout)):
            from throughtime.cli.parser import run

            run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except CommandError as error:
        say(f"error: {error}")
        return error.status
    except ImportError as error:  # an optional package; its message tells how to get it
        say(f"error: {one_line(error)}")
        return 1
    except BrokenPipeError:  # whoever read standard output has gone: nothing is left to say, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        say(f"error: {one_line(error)}")
        return 1
    except KeyboardInterrupt as error:
        say("interrupted")
        return 128 + int(getattr(error, "signal", signal.SIGINT))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        say(f"error: out of memory: {one_line(error)}; a smaller --batch-size, --truncate or --states needs less")
        return 1
    return 0
