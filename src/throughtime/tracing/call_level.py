"""What a cell computes from parameters and buffers alone: once a call, by PyTorch, under autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from throughtime.tracing.capture import Capture
from throughtime.tracing.emit import Emitted


class CallLevel:
    """Makes a program's matrices and parameters of a cell's parameters and buffers.

    Most are parameters as they stand. The others are computed by the part of the cell's graph that needs no row.
    """

    def __init__(
        self, capture: Capture, weights: Sequence[fx.Node], emitted: Emitted, trained: frozenset[fx.Node]
    ) -> None:
        given = {q: k for k, q in enumerate((*capture.parameters, *capture.buffers))}
        made = [q for q in weights if q not in given]
        self.module = _part(capture, made) if made else None
        place = {q: k if q in given else len(given) + made.index(q) for q, k in ((q, given.get(q, 0)) for q in weights)}
        self.matrices = [(place[weights[m.weight.of]], m, weights[m.weight.of] in trained) for m in emitted.matrices]
        self.parameters = [(place[weights[k]], weights[k] in trained) for k in emitted.parameters]

    def __call__(self, parameters: Sequence[Tensor], buffers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The matrices, then the parameters, in the program's order."""
        tensors = [*parameters, *buffers]
        if self.module is not None:
            tensors += self.module(*tensors)
        dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.get_default_dtype())
        found = [(layout.of(tensors[k]), trained) for k, layout, trained in self.matrices]
        found += [
            (tensors[k] if tensors[k].dim() == 1 else tensors[k].reshape(-1), trained) for k, trained in self.parameters
        ]
        return tuple(_real(t, dtype) if trained else _real(t, dtype).detach() for t, trained in found)


def _real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Whole numbers and truth values as real numbers."""
    return tensor if tensor.is_floating_point() else tensor.to(dtype)


def _part(capture: Capture, wanted: Sequence[fx.Node]) -> fx.GraphModule:
    """The part of the graph that makes `wanted` of parameters and buffers."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for q in (*capture.parameters, *capture.buffers):
        copies[q] = graph.placeholder(q.name)
    for leaf in capture.leaves:  # detached while tracing, so that the way back ended there
        if leaf.op == "call_function" and leaf.args[0] in capture.parameters:
            copies[leaf] = copies[leaf.args[0]]
    needed = set(wanted)
    for q in reversed(capture.module.graph.nodes):
        if q in needed and q not in copies:
            needed.update(q.all_input_nodes)
    for q in capture.module.graph.nodes:
        if q in needed and q not in copies:
            copies[q] = graph.node_copy(q, lambda a: copies[a])
    graph.output([copies[q] for q in wanted])
    return fx.GraphModule(capture.module, graph)
