"""Programs as the compiled engine reads them: where every vector lies, and in which order its instructions run.

`forward_code` and `backward_code` make the tables of native/program.hpp, once per program and choice of results.

Rows. A vector's row is cut where windows of it begin and end that instructions write, so that a whole vector register may be
written behind each without harm; every piece begins on a cache line. Windows that one instruction relates are cut alike.
Where all cuts fall on cache lines anyway, as for gates of 64 units, a row in scratch memory is the same as the caller's.

Homes. A vector that lives within one run of elementwise instructions gets a strip of the first-level cache, which others use
before and after it; one that lives within a slot the rows of a slot; all others the rows of a chunk. The state after a step
is the state before the next one: it is never copied.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from throughtime.engines.coding.back import BackCoder
from throughtime.engines.coding.coder import Coder
from throughtime.engines.coding.tables import BEFORE, SLOT, STATE
from throughtime.programs.levels import levels
from throughtime.programs.program import Block, Product, Program, Window, reads, whole


@lru_cache(maxsize=1024)
def forward_code(program: Program, unit: int, symbols: bool, keep: bool) -> Any:
    """The forward direction. Series: the inputs, the outputs, then (with `keep`) what is kept."""
    results = [*program.outputs, *(program.kept if keep else ())]
    coder = Coder(program, unit, symbols, levels(program)[0], [*results, *program.next])
    for vector in program.state:  # a product over all rows of a chunk needs them at one distance
        if any(w.vector == vector.name for i in coder.levels[2] if isinstance(i, Product) for w in reads(i)):
            new, copy = coder.copy(whole(vector), vector.width)
            coder.levels[1].append(copy)
            coder.rename(2, vector.name, new.vector)
    after: list[Window] = []
    for window in program.next:  # every part has memory of its own
        if any(window.overlaps(other) for other in after):
            window, copy = coder.copy(window, window.width)
            coder.levels[1].append(copy)
        after.append(window)
    coder.aliases += zip(after, map(whole, program.state))
    coder.schedule()
    coder.layout()
    pinned: dict[str, int] = {}
    for vector, window in zip(program.state, after):
        if window.vector not in pinned:
            pinned[window.vector] = coder.place(STATE, window.vector)
        pinned[vector.name] = coder.place(BEFORE, vector.name, pinned[window.vector])
        coder.bases[vector.name] = coder.rows.extent(window)[0]
    for i, vector in enumerate(program.inputs):
        if not (symbols and i == 0):
            coder.source(vector.name, i, 0)
    coder.settle(pinned, {w.vector for w in results})
    bounds = coder.items()
    for window in after:
        coder.part(window)
    for k, window in enumerate(results):
        coder.sink(window, len(program.inputs) + k)
    return coder.finish(bounds, [*program.inputs, *results])


@lru_cache(maxsize=1024)
def backward_code(
    program: Program, unit: int, symbols: bool, inputs: tuple[bool, ...], weights: tuple[bool, ...]
) -> Any:
    """The way back, for the gradients of some inputs and weights. Series: the inputs, the outputs, what was kept, the outputs'
    upstream, the inputs' gradients. Gradients: by weight."""
    names = [m.name for m in program.matrices] + [v.name for v in program.parameters]
    wanted = {name for name, need in zip(names, weights, strict=True) if need}
    contractions = [c for c in program.contractions if c.block.matrix in wanted]
    sums = [s for s in program.sums if s.parameter.vector in wanted]
    to_inputs = [w if need else None for w, need in zip(program.to_inputs, inputs, strict=True)]
    summed = [w for c in contractions for w in (c.delta, c.vector)] + [s.delta for s in sums]
    results = [*summed, *(w for w in to_inputs if w is not None)]
    coder = BackCoder(
        program, unit, symbols, levels(program)[1], [*(w for w in program.to_state if w is not None), *results]
    )
    carried = program.upstream[len(program.outputs) :]
    renamed = coder.keep_carried(carried, results)

    def late(window: Window) -> Window:
        return Window(renamed.get(window.vector, window.vector), window.start, window.width)

    whole_chunk = {late(w).vector for w in results}
    coder.schedule()
    back = coder.carry(carried, program.to_state, whole_chunk)
    given = {v.name for v in program.inputs}
    products: list[tuple[Window | None, Window]] = []
    for c in contractions:  # the caller's rows may end within a vector, and are read number by number
        delta, vector = late(c.delta), late(c.vector)
        products.append((vector, delta) if vector.vector in given else (delta, vector))
    products += [(None, late(s.delta)) for s in sums]
    coder.plan_sums(products)
    coder.layout()
    pinned: dict[str, int] = {}
    for vector, window in zip(carried, back):
        if window.vector not in pinned:
            pinned[window.vector] = coder.place(SLOT, window.vector)
        pinned[vector.name] = pinned[window.vector]
        coder.bases[vector.name] = coder.rows.extent(window)[0]
    coder.read_back([late(w) for w in results])
    coder.settle(pinned, whole_chunk)
    bounds = coder.items()
    for window in back:
        coder.part(window)
    series = len(program.inputs) + 2 * len(program.outputs) + len(program.kept)
    for i, window in enumerate(to_inputs):
        if window is not None:
            coder.sink(late(window), series + i)
    partial = pieced(program)
    for (a, b), c in zip(products, contractions):
        m = coder.matrices[c.block.matrix][1]
        transposed = c.vector.vector in given
        coder.deliver(a, b, names.index(m.name), c.block.row, c.block.column, m.columns, transposed, m.name in partial)
    for (a, b), s in zip(products[len(contractions) :], sums):
        parameter, start, _ = s.parameter
        add = parameter in partial
        coder.deliver(a, b, names.index(parameter), 0, start, coder.widths[parameter], False, add)
    read = [*program.inputs, *program.outputs, *program.kept, *program.upstream[: len(program.outputs)]]
    return coder.finish(bounds, [*read, *program.inputs])


@lru_cache(maxsize=1024)
def pieced(program: Program) -> frozenset[str]:
    """The matrices and parameters whose gradient is not one whole sum, or is a sum of several: it is added to zeros."""
    found = set()
    for matrix in program.matrices:
        blocks = [c.block for c in program.contractions if c.block.matrix == matrix.name]
        if [Block(matrix.name, 0, 0, matrix.rows, matrix.columns)] != blocks:
            found.add(matrix.name)
    for parameter in program.parameters:
        if [s.parameter for s in program.sums if s.parameter.vector == parameter.name] != [whole(parameter)]:
            found.add(parameter.name)
    return frozenset(found)
