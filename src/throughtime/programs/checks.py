"""What a program must fulfil; called once when one is made."""

from __future__ import annotations

from throughtime.programs.program import OPERATIONS, REDUCTIONS, Block, Product, Program, Window, reads


def check(program: Program) -> None:
    """Refuse a program that no engine could run.

    Raises: ValueError with one line that names the program, the vector or matrix, what was expected and what was found.
    """
    widths = program.widths
    matrices = {m.name: m for m in program.matrices}
    written: dict[str, list[Window]] = {}

    def fail(what: str) -> None:
        raise ValueError(f"program {program.name}: {what}")

    def known(window: Window) -> None:
        if window.vector not in widths:
            fail(f"unknown vector {window.vector!r}")
        if not 0 <= window.start < window.stop <= widths[window.vector]:
            fail(f"{window.vector}[{window.start}:{window.stop}] lies outside its {widths[window.vector]} units")
        if window.vector in made:
            parts = sorted(w for w in written.get(window.vector, ()) if w.overlaps(window))
            reached = window.start
            for part in parts:
                if part.start <= reached:
                    reached = max(reached, part.stop)
            if reached < window.stop:
                fail(f"{window.vector}[{window.start}:{window.stop}] is read before it is written")

    def fits(block: Block) -> None:
        matrix = matrices.get(block.matrix)
        if matrix is None:
            fail(f"unknown matrix {block.matrix!r}")
        elif block.row + block.rows > matrix.rows or block.column + block.columns > matrix.columns:
            fail(f"a block of {block.matrix} lies outside its shape [{matrix.rows}, {matrix.columns}]")

    def agree(what: str, expected: int, found: int) -> None:
        if expected != found:
            fail(f"{what}: expected {expected} units, found {found}")

    given = [v.name for v in (*program.inputs, *program.state, *program.parameters, *program.upstream)]
    names = [*given, *matrices]
    if len(set(names)) < len(names):
        fail(f"a name is used twice among {', '.join(names)}")
    made = {i.out.vector for i in (*program.forward, *program.backward)}
    if made & set(names):
        fail(f"{min(made & set(names))!r} is given and cannot be written")
    if not program.state:
        fail("expected a state of at least one part")
    for back, instructions in ((False, program.forward), (True, program.backward)):
        for i in instructions:
            for window in reads(i):
                known(window)
                if not back and window.vector in {v.name for v in program.upstream}:
                    fail(f"{window.vector!r} comes from upstream and cannot be read on the way forward")
            if isinstance(i, Product):
                for term in i.terms:
                    fits(term.block)
                    into, out_of = (term.block.columns, term.block.rows)[:: -1 if term.transposed else 1]
                    agree(f"{term.block.matrix} @ {term.vector.vector}", into, term.vector.width)
                    agree(f"{i.out.vector} = {term.block.matrix} @ …", i.out.width, out_of)
                for addend in i.addends:
                    agree(f"{i.out.vector} = … + {addend.vector}", i.out.width, addend.width)
            else:
                if OPERATIONS.get(i.op) != len(i.operands):
                    fail(f"unknown operation {i.op} of {len(i.operands)} operands")
                if i.op in REDUCTIONS:
                    agree(f"{i.out.vector} = {i.op}(…)", 1, i.out.width)
                for operand in i.operands:
                    if i.op not in REDUCTIONS and isinstance(operand, Window) and operand.width != 1:
                        agree(f"{i.out.vector} = {i.op}({operand.vector} …)", i.out.width, operand.width)
            if any(w.overlaps(i.out) for w in written.get(i.out.vector, ())):
                fail(f"{i.out.vector}[{i.out.start}:{i.out.stop}] is written twice")
            written.setdefault(i.out.vector, []).append(i.out)
        if not back:
            for window in (*program.outputs, *program.next):
                known(window)
                if window.vector not in made:
                    fail(f"{window.vector!r} is given; expected a vector that an instruction writes (copy it)")
    for window in program.back_reads:
        known(window)
    if len(program.next) != len(program.state):
        fail(f"next: expected {len(program.state)} parts, found {len(program.next)}")
    for vector, after in zip(program.state, program.next, strict=True):
        agree(f"the state {vector.name} after the step", vector.width, after.width)
    for vector, back in zip((*program.inputs, *program.state), (*program.to_inputs, *program.to_state), strict=True):
        if back is not None:
            agree(f"the gradient of {vector.name}", vector.width, back.width)
    sources = (*program.outputs, *program.next)
    if len(program.upstream) != len(sources):
        fail(f"upstream: expected {len(sources)} vectors, found {len(program.upstream)}")
    for vector, source in zip(program.upstream, sources, strict=True):
        agree(f"upstream {vector.name}", source.width, vector.width)
    for c in program.contractions:
        fits(c.block)
        agree(f"the gradient of {c.block.matrix}", c.block.rows, c.delta.width)
        agree(f"the gradient of {c.block.matrix}", c.block.columns, c.vector.width)
    for s in program.sums:
        known(s.parameter)
        agree(f"the gradient of {s.parameter.vector}", s.parameter.width, s.delta.width)
