"""Where a training is kept until it has ended, and how it is found again.

RUN               the run folder, which is whole or not there
RUN.unfinished    the checkpoints of its training, and the black box of what was not finite
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from throughtime.cli.errors import CommandError, Refused, one_line, refusing
from throughtime.cli.options import ABOUT_FILES, DEFAULTS, TrainOptions, check_kinds, is_own_cell

FREE_TO_CHANGE = (*ABOUT_FILES, "on_nonfinite")


def folder(out: Path) -> Path:
    """Where the checkpoints of the run `out` are until its training has ended."""
    return out.with_name(f"{out.name}.unfinished")


def clear(out: Path) -> None:
    """Remove the checkpoints of the run `out`."""
    shutil.rmtree(folder(out), ignore_errors=True)


def begun(out: Path) -> bool:
    """Whether there is a checkpoint of the run `out`."""
    from throughtime.learning.checkpoints import numbered

    return bool(numbered(folder(out)))


def how_to_go_on(out: Path, cell: str) -> str:
    """The command that resumes the training of the run `out`, of a model of this cell."""
    again = f" --cell {cell}" if is_own_cell(cell) else ""
    return f"to go on: throughtime train --resume --out {shlex.quote(str(out))}{again}"


@contextmanager
def telling_what_is_left(out: Path, cell: str) -> Iterator[None]:
    """Within the block, a file that cannot be written ends the command with a line that tells what there is to go on from."""
    try:
        yield
    except OSError as error:
        left = f"the last checkpoint is whole; {how_to_go_on(out, cell)}"
        if not begun(out):
            clear(out)
            left = "nothing has been trained yet; try again where there is room to write, or with another --out"
        raise CommandError(f"{one_line(error)}; {left}") from error


def clear_unless_begun(out: Path) -> None:
    """Remove the checkpoints of the run `out` where the first one, from before any update, is all there is."""
    if folder(out).is_dir() and [file.name for file in folder(out).iterdir()] == ["00000001"]:
        clear(out)


def place(options: TrainOptions, shared: bool) -> tuple[TrainOptions | None, Path]:
    """The options of the training and its run folder. Those of a training that is resumed are the ones that it began with;
    they are None where it has ended.

    Args: shared: among processes that torchrun has started. It starts them anew when one dies, and then they resume.

    Raises: Refused: a folder that is not free, or nothing to resume.
    """
    from throughtime.learning.run import check_free

    if shared and options.out is None:
        raise Refused("--out: expected a run folder, where processes started anew find their checkpoints, found none")
    out = options.out or _usual(options)
    again = shared and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if options.resume or (again and (begun(out) or out.exists())):
        return _resumed(options, out), out
    if options.out is None and not options.overwrite:
        return options, _free(out)
    with refusing():
        check_free(out, options.overwrite)
    if begun(out) and not options.overwrite:
        raise Refused(
            f"{folder(out)}: expected no unfinished training, found one; --resume goes on, --overwrite starts anew"
        )
    clear(out)
    return options, out


def _resumed(options: TrainOptions, out: Path) -> TrainOptions | None:
    from throughtime.cli.inputs import FILES, absolute
    from throughtime.learning.checkpoints import read_config

    if not begun(out) and (out / "model.json").is_file():
        return None
    with refusing():
        config = checked(read_config(folder(out)), folder(out))
    if is_own_cell(config.get("cell", "")) and options.cell != config["cell"]:
        raise Refused(
            f"--cell: expected {config['cell']} to be given again, as the training began, found {options.cell}"
        )
    for name in config.keys() - set(FREE_TO_CHANGE):
        given: Any = getattr(options, name)
        given = absolute(given) if name in FILES else given
        if given not in (getattr(DEFAULTS, name), config[name]):
            flag = name.replace("_", "-")
            raise Refused(f"--{flag}: expected {config[name]}, as the training began, found {given}")
    if options.on_nonfinite != DEFAULTS.on_nonfinite:
        config["on_nonfinite"] = options.on_nonfinite
    return replace(
        TrainOptions(**config), checkpoint_every=options.checkpoint_every, resume=True, tensorboard=options.tensorboard
    )


def checked(config: dict[str, Any], where: Path) -> dict[str, Any]:
    """Options from JSON. Raises: ValueError: one that there is not, or a value that it cannot have."""
    known = check_kinds(config, where)
    for name, value in config.items():
        if name not in known or name in ABOUT_FILES:
            raise ValueError(f"{where}: expected the options of a training, found {name!r}: {value!r:.50}")
    return known


def _usual(options: TrainOptions) -> Path:
    from throughtime.cli.inputs import STDIN, USUAL

    source = options.source or USUAL
    return Path("runs") / ("stdin" if source == STDIN else Path(source.removesuffix(".gz")).stem)


def _free(usual: Path) -> Path:
    """`usual`, or the next of `usual`-2, `usual`-3, … that is not there yet, finished or not."""
    numbered = (usual.with_name(f"{usual.name}-{i}") for i in itertools.count(2))
    return next(path for path in itertools.chain([usual], numbered) if not path.exists() and not begun(path))
