"""`throughtime export`: a trained model as an ONNX file."""

from __future__ import annotations

from pathlib import Path

from throughtime.cli.options import Json, OwnCell, Quiet
from throughtime.cli.terminal import print_json, quieten


def export(
    run: Path, /, *, out: Path | None = None, cell: OwnCell = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Write a trained model as an ONNX file, for onnxruntime and other programs that read it.

    The number of sequences and of steps stay free, sequences may be of different lengths, and a state may be carried from one
    call to the next. Before the file is written, onnxruntime is seen to agree with the model at other sizes.

    Args:
        run: the run folder.
        out: the file to write; model.onnx in the run folder where left out.
        cell: package.module:Class, where the model is of such a cell.
        json: for machines.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    from throughtime.cli.errors import CommandError, refusing
    from throughtime.cli.inputs import open_run
    from throughtime.export.onnx_files import CHECKED_AT, ExportError, to_onnx

    with refusing():
        loaded = open_run(run, cell)
        path = run / "model.onnx" if out is None else out
        try:
            difference = to_onnx(loaded, path)
        except ExportError as error:
            raise CommandError(str(error)) from error
    if json:
        print_json({"file": str(path), "checked_at": CHECKED_AT, "largest_difference": difference})
        return
    sizes = ", ".join(f"{B} × {T}" for B, T in CHECKED_AT)
    print(f"{path}: onnxruntime agrees at {sizes} (sequences × steps); largest difference {difference:.1e}")
