"""A folder of text files: a class in each file and a sequence on each line; or, for language models, a text in each."""

from __future__ import annotations

from pathlib import Path

from throughtime.data.errors import DataError
from throughtime.data.readers.lines import numbered_lines
from throughtime.data.readers.options import Options
from throughtime.data.readers.text import read_whole
from throughtime.data.records import Records

SUFFIX = ".txt"


def read_folder(path: Path, options: Options) -> Records:
    """The files NAME.txt of a folder; other files are not looked at.

    classify: each line is a sequence of characters of the class NAME. Spaces at its ends are dropped, as they would give
    a file away, and so are empty lines. lm: each file is a text.

    Raises:
        DataError: no such file (or a single class), a file without text, or a byte that is not UTF-8.
    """
    needed = 1 if options.task == "lm" else 2
    files = sorted(file for file in path.iterdir() if file.suffix == SUFFIX and file.is_file())
    if len(files) < needed:
        raise DataError(path, f"at least {needed} files whose names end in {SUFFIX}", str(len(files)))
    if options.task == "lm":
        texts = [read_whole(file) for file in files]
        names, places = [file.stem for file in files], [str(file) for file in files]
        return Records(str(path), "lm", texts, texts if options.labelled else None, names, places)
    inputs: list[str] = []
    targets: list[str] = []
    places: list[str] = []
    for file in files:
        before = len(inputs)
        for number, line in numbered_lines(file):
            if text := line.strip():
                inputs.append(text)
                targets.append(file.stem)
                places.append(f"{file}:{number}")
        if len(inputs) == before:
            raise DataError(file, "at least one line of text", "none")
    names = [f"{target} {place.rpartition(':')[2]}" for target, place in zip(targets, places)]
    classes = tuple(file.stem for file in files)
    return Records(
        str(path),
        "classify",
        inputs,
        targets if options.labelled else None,
        names,
        places,
        outputs=classes,
        field="class",
    )
