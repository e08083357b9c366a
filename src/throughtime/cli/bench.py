"""`throughtime bench`: the speed of a learning step on this machine, beside PyTorch's."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from throughtime.cli.errors import CommandError
from throughtime.cli.options import Json, Quiet
from throughtime.cli.terminal import quieten, say

if TYPE_CHECKING:
    from throughtime.benchmark import Result


def bench(
    *,
    rounds: int = 5,
    cell: Literal["elman", "lstm", "gru"] = "elman",
    ragged: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the learning step and the layer against torch.nn's (and JAX, where installed), in turns in one process.

    Args:
        rounds: how often the contenders take turns; more is steadier.
        cell: whose layer; elman has a learning step of its own, too.
        ragged: lengths uniform in 1..T, against PackedSequence.
        json: for machines.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    if rounds < 1:
        raise CommandError(f"--rounds: expected at least 1, found {rounds}")
    from dataclasses import replace

    import torch

    from throughtime.benchmark import SIZES, compare, matrix_product_gflops

    threads = torch.get_num_threads()
    sizes = tuple(replace(size, cell=cell, ragged=ragged) for size in SIZES if not (ragged and size.forward_only))
    product = matrix_product_gflops(threads)
    say(f"a 1024³ matrix product runs at {product:.0f} GF/s with {threads} threads")
    rows = []
    if not json:
        print(_HEADER)
    for result in compare(sizes, rounds, threads):
        rows.append(_row(result, product))
        if not json:
            print(_line(result, product), flush=True)
    if json:
        print(json_module.dumps({"threads": threads, "matrix_product_gflops": product, "results": rows}, indent=2))


_HEADER = (
    f"{'T, B, n, d, k':<34} {'subject':<7} {'ms min':>9} {'median':>9}  {'GF/s':>6} {'of product':>10}"
    f"  {'ratio':>7}  rivals' minima (ratio: the better torch to ours)"
)


def _line(result: Result, product: float) -> str:
    ours = result.timings["throughtime"]
    rivals = ", ".join(
        f"{name} {t.minimum * 1e3:.3g} ms" for name, t in result.timings.items() if name != "throughtime"
    )
    # A ragged batch leaves out an unknown part of the arithmetic.
    speed = f"{'':>6} {'':>10}" if result.size.ragged else f"{result.gflops:>6.1f} {result.gflops / product:>10.0%}"
    return (
        f"{result.size!s:<34} {result.subject:<7} {ours.minimum * 1e3:>9.3f} {ours.median * 1e3:>9.3f}  {speed}"
        f"  {result.ratio:>6.2f}×  {rivals}"
    )


def _row(result: Result, product: float) -> dict[str, Any]:
    return {
        "size": vars(result.size),
        "subject": result.subject,
        "ratio": result.ratio,
        "gflops": None if result.size.ragged else result.gflops,
        "fraction_of_product": None if result.size.ragged else result.gflops / product,
        "milliseconds": {
            name: {"minimum": t.minimum * 1e3, "median": t.median * 1e3, "runs": len(t.seconds)}
            for name, t in result.timings.items()
        },
    }
