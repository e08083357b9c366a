"""What a forward call leaves for the way back, by a least cut.

Between what is there anyway (inputs, states, outputs) and what the way back reads lie the values of the way forward. A cut
through them tells which to save; what lies behind the cut is computed anew. Its weight is the number of units saved; products
and costly functions are never computed twice, and a value that a cheap one can be made from is not saved.

Source: the partitioner of PyTorch's AOTAutograd poses the question in this way; it, too, asks networkx for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import networkx as nx

from throughtime.tracing.interpret import Step
from throughtime.tracing.sheet import Op, Value
from throughtime.tracing.simplify import dependent, roots

COSTLY = {
    "product", "row_sum", "row_max", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "pow", "erf", "sin", "cos", "sqrt",
    "rsqrt",
}  # fmt: skip


class Ways(NamedTuple):
    """The instructions of both ways. Those of `again` are of the way forward, computed anew on the way back."""

    forward: list[Op]
    again: list[Op]
    backward: list[Op]


def divide(step: Step) -> Ways:
    """The two ways of a step."""
    sheet = step.sheet
    ops = sheet.ops
    back = dependent(ops, "upstream")

    def values(arrays: Iterable[object]) -> dict[Value, None]:
        return {part.value: None for units in arrays for part in sheet.parts(units)}  # type: ignore[arg-type]

    ends = values([*step.outputs, *step.next])
    asked = {v: None for v in values(roots(step)) if v not in ends or v in back}
    in_back = [op for op in ops if op.out in back]
    read = (
        {p.value: None for op in in_back for p in op.reads}
        | asked
        | values(u for g in step.gradients for u in (g.delta, g.vector) if u is not None)
    )
    direct = [v for v in read if v.by is not None and v not in back]
    saved = _least_cut(direct, ends)
    return Ways(
        _needed(ops, {**ends, **saved}, lambda v: v in back),
        _needed(ops, dict.fromkeys(direct), lambda v: v in back or v in saved or v in ends),
        in_back,
    )


def _needed(ops: list[Op], wanted: dict[Value, None], stop: object) -> list[Op]:
    """The instructions that make values, without those where `stop` says so."""
    assert callable(stop)
    wanted = dict(wanted)
    found = []
    for op in reversed(ops):
        if op.out in wanted and not stop(op.out):
            found.append(op)
            wanted |= {p.value: None for p in op.reads}
    return found[::-1]


def _least_cut(direct: list[Value], ends: dict[Value, None]) -> dict[Value, None]:
    """The values to save so that those of `direct` can be had."""
    graph = nx.DiGraph()
    seen: dict[Value, int] = {}
    todo = list(direct)
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        seen[value] = k = len(seen)
        free = value.by is None or value in ends
        graph.add_edge((k, "in"), (k, "out"), capacity=0 if free else value.width)
        if value.by is not None:
            todo += [p.value for p in value.by.reads]
    for value, k in seen.items():
        if value.by is None or value.by.name in COSTLY:
            graph.add_edge("given", (k, "in"))  # without a capacity: never cut
        if value.by is not None:
            for part in value.by.reads:
                graph.add_edge((seen[part.value], "out"), (k, "in"))
    for value in direct:
        graph.add_edge((seen[value], "out"), "back")
    if not direct:
        return {}
    _, (near, _) = nx.minimum_cut(graph, "given", "back")
    return {v: None for v, k in seen.items() if v.by is not None and (k, "in") in near and (k, "out") not in near}
