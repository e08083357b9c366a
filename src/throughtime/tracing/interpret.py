"""From a captured graph to instructions over units, and to the sums over rows and steps that gradients of weights are.

weights     tensors of the call level that rows meet: parameters, or what a call computes from them
rows        arrays of unit numbers; an operation adds instructions to the sheet
totals      sums over the batch: Σ δ vᵀ, or Σ δ. They are what gradients of weights consist of, and nothing else may read them
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from throughtime.programs.program import OPERATIONS
from throughtime.tracing.capture import Capture
from throughtime.tracing.operations import SPECIAL, elementwise
from throughtime.tracing.rows import (
    APART,
    Node,
    Row,
    Total,
    name_of,
    product_of_two,
    reduced,
    refuse_node,
    same_kind,
    scattered,
    weight_of,
)
from throughtime.tracing.sheet import Numbers, Sheet, Value
from throughtime.tracing.totals import Gradient, Totals
from throughtime.tracing.views import SAME, SPLITS, VIEWS, axis_of, keeps_batch, shape_of, split

FILLS = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty"), 0.0),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), 1.0),
}
RANDOM = (
    "rand", "randn", "randint", "bernoulli", "native_dropout", "normal", "uniform", "multinomial", "exponential", "dropout",
)  # fmt: skip


@dataclass(eq=False)
class Step:
    """What a step comes to: units of outputs and states, of what goes back, and the gradients of weights."""

    sheet: Sheet
    weights: list[Node]
    inputs: list[Value | None]
    outputs: list[Numbers] = field(default_factory=list)
    next: list[Numbers] = field(default_factory=list)
    to_inputs: list[Numbers | None] = field(default_factory=list)
    to_state: list[Numbers | None] = field(default_factory=list)
    gradients: list[Gradient] = field(default_factory=list)


def interpret(capture: Capture) -> Step:
    """The instructions of a captured step.

    Raises: CannotTraceError: an operation that no program has.
    """
    return _Interpreter(capture).run()


class _Interpreter:
    def __init__(self, capture: Capture) -> None:
        self.capture, self.batch = capture, capture.batch
        self.sheet = Sheet()
        self.weights: list[Node] = []
        self.totals = Totals(self.sheet)
        self.inputs: list[Value | None] = [None] * len(capture.inputs)
        self.found: dict[Node, Any] = {}
        self.rows: dict[Node, bool] = {}
        cuts: list[Any] = [q.args[0] for q in capture.leaves if q.op == "call_function"]
        self.cut = set(cuts)

    def run(self) -> Step:
        c = self.capture
        for k, q in enumerate(c.inputs):
            if q.meta["val"].dtype in (torch.int64, torch.int32) and q.meta["val"].dim() == 1:
                self.found[q] = k  # symbols: an embedding will tell how many there are
            else:
                self.inputs[k] = self.given("input", q, k)
        for kind, nodes in (("state", c.state), ("upstream", c.upstream)):
            for k, q in enumerate(nodes):
                self.given(kind, q, k)
        for q in c.module.graph.nodes:
            if q.op == "placeholder" or q.op == "get_attr":
                self.rows[q] = q in self.found
            elif q.op == "call_function":
                value = q.meta.get("val")
                shaped = isinstance(value, torch.Tensor) and axis_of(q, self.batch) is not None
                self.rows[q] = shaped or (any(self.rows[a] for a in q.all_input_nodes) and self.filled(q) is None)
                if self.rows[q]:
                    self.found[q] = self.evaluate(q)
        step = Step(self.sheet, self.weights, self.inputs)
        step.outputs, step.next = ([self.units(q) for q in nodes] for nodes in (c.outputs, c.next))
        step.to_inputs, step.to_state = (
            [None if q is None else self.units(q) for q in nodes] for nodes in (c.to_inputs, c.to_state)
        )
        for leaf, q in zip(c.leaves, c.to_leaves, strict=True):
            total = self.found.get(q)
            if isinstance(total, Total):
                step.gradients += self.totals.gradients(q, total, self.row(leaf).units)
            elif q is not None and self.rows[q]:
                raise refuse_node(q, "a gradient of weights that is no sum over rows", "engine='loop' runs anything")
        self.check_cuts()
        return step

    def given(self, kind: str, q: Node, k: int) -> Value:
        shape = shape_of(q, self.batch)
        value = self.sheet.new(kind, math.prod(shape), k)
        self.found[q] = Row(self.sheet.units(value).reshape(shape), 0)
        return value

    def units(self, q: Node) -> Numbers:
        """What a program returns for every row: its units, flat."""
        return np.broadcast_to(self.row(q).units, shape_of(q, self.batch)).ravel()

    # --- one node

    def row(self, value: Any) -> Row:
        """A node's array: of the row's units, or of a weight's."""
        if isinstance(value, Row):
            return value
        if value not in self.found:
            same = [q for q in self.weights if q.op == value.op == "get_attr" and q.target == value.target]
            self.found[value] = self.found[same[0]] if same else self.weight(value)
        found = self.found[value]
        if isinstance(found, int):
            raise refuse_node(
                next(iter(value.users)), "arithmetic with integers", "use them as symbols of an Embedding"
            )
        if not isinstance(found, Row):
            raise refuse_node(value, "a sum over the batch", APART)
        return found

    def weight(self, q: Node) -> Row:
        """A tensor of the call level: a view of a weight, a constant, or a weight of its own."""
        name = name_of(q)
        number = self.filled(q)
        if number is not None:
            return Row(np.full(tuple(q.meta["val"].shape), self.sheet.constant(number)), None)
        if q.op == "call_function":
            if name.startswith(RANDOM):
                raise refuse_node(q, "random numbers drawn inside a step", "pass noise and masks as drives")
            if name == "getitem" and name_of(q.args[0]) in SPLITS:
                source = q.args[0]
                return Row(split(self.row(source.args[0]).units, name_of(source), *source.args[1:])[q.args[1]], None)
            if (name in VIEWS and name != "constant_pad_nd") or (name == "_to_copy" and same_kind(q)):
                shape = tuple(q.meta["val"].shape)
                a = self.row(q.args[0]).units
                a = a if name == "_to_copy" else VIEWS[name](a, shape, *q.args[1:])
                strided = a.ndim == 1 and len(a) > 1 and (np.diff(a) != 1).any()  # a diagonal, a column: laid out anew
                if not (strided and q in self.cut):
                    return Row(a, None)
        value = q.meta.get("val")
        tensor: Any = value if isinstance(value, torch.Tensor) else getattr(self.capture.module, str(q.target))
        weight = self.sheet.new("weight", max(1, tensor.numel()), len(self.weights))
        self.weights.append(q)
        return Row(self.sheet.units(weight).reshape(tuple(tensor.shape)), None)

    def filled(self, q: Node) -> float | None:
        """The number that a tensor is filled with, if it is one of those."""
        name = name_of(q)
        if q.op == "get_attr":
            tensor = getattr(self.capture.module, str(q.target))
            return float(tensor) if tensor.numel() == 1 and type(tensor) is torch.Tensor else None
        if name in FILLS:
            return FILLS[name]
        if name == "scalar_tensor":
            return float(q.args[0])
        if name in ("full", "full_like", "fill", "new_full"):
            number = q.args[2 if name == "new_full" else 1]
            return float(number) if not hasattr(number, "meta") else self.filled(number)
        if name in SAME and hasattr(q.args[0], "meta") and not self.rows.get(q.args[0], True):
            return self.filled(q.args[0])
        if q.op == "call_function" and q.all_input_nodes and (name in OPERATIONS or name in SPECIAL):
            return self.folded(q)
        return None

    def folded(self, q: Node) -> float | None:
        """The number that an operation on such tensors comes to, if all are."""
        numbers = {a: self.filled(a) for a in q.all_input_nodes}
        if any(n is None for n in numbers.values()):
            return None
        args = [torch.tensor(numbers[a], dtype=a.meta["val"].dtype) if hasattr(a, "meta") else a for a in q.args]
        return float(q.target(*args, **q.kwargs))

    def evaluate(self, q: Node) -> Any:
        name, args = name_of(q), list(q.args)
        if name == "getitem":
            return self.found[args[0]][args[1]]
        first = args[0] if args else None
        if name in SAME and isinstance(self.found.get(first), int):
            return self.found[first]  # symbols
        if name in SPLITS:
            row = self.row(first)
            assert isinstance(row.axis, int)
            dim = args[1] if name == "unbind" and len(args) > 1 else args[2] if len(args) > 2 else 0
            if dim % row.units.ndim == row.axis:
                raise refuse_node(q, "a split of the batch", APART)
            pieces = split(row.units, name, None if name == "unbind" else args[1], dim)
            return [Row(p, axis_of_piece) for p, axis_of_piece in zip(pieces, _axes(q, self.batch))]
        if name.startswith(RANDOM):
            raise refuse_node(q, "random numbers drawn inside a step", "pass noise and masks as drives")
        if any(isinstance(self.found.get(a), Total) for a in q.all_input_nodes):
            return self.totals.moved(q, args, self.found, self.filled)
        number = self.filled(q)
        if number is not None:
            return Row(np.full(shape_of(q, self.batch), self.sheet.constant(number)), axis_of(q, self.batch))
        if name == "embedding":
            return self.embedding(q, *args)
        if name == "embedding_dense_backward":
            return self.embedding_backward(q, *args)
        if name in ("mm", "bmm"):
            return self.products(q, *(self.row(a) for a in args))
        if name in ("addmm", "baddbmm"):
            return self.sum_of_products(q, *(self.row(a) for a in args))
        if name in ("sum", "mean", "amax", "amin", "var"):
            return self.reduction(q, name, args)
        if not isinstance(q.meta.get("val"), torch.Tensor):
            raise refuse_node(q, f"the operation {name}", "engine='loop' runs anything")
        shape, axis = shape_of(q, self.batch), axis_of(q, self.batch)
        if axis is None:
            raise refuse_node(q, f"{name} over the batch", APART)
        if name in VIEWS:
            return self.view(q, name, args, shape, axis)
        if name == "_to_copy" and same_kind(q):
            return self.row(first)
        if name == "cat":
            rows = [self.row(a) for a in args[0]]
            dim = (args[1] if len(args) > 1 else 0) % len(shape)
            if dim == axis:
                raise refuse_node(q, "cat of the batch", APART)
            arrays = [np.broadcast_to(r.units, (*shape[:dim], r.units.shape[dim], *shape[dim + 1 :])) for r in rows]
            return Row(np.concatenate(arrays, dim), axis)
        if name in ("slice_scatter", "select_scatter"):
            return Row(scattered(name, self.row(first).units, self.row(args[1]).units, args[2:]), axis)
        rows = [self.row(a) if hasattr(a, "meta") else a for a in args]
        operands = [r.units if isinstance(r, Row) else r for r in rows]
        try:
            return Row(elementwise(self.sheet, q, name, operands, shape), axis)
        except KeyError:
            raise refuse_node(q, f"the operation {name}", "engine='loop' runs anything") from None

    def view(self, q: Node, name: str, args: list[Any], shape: tuple[int, ...], axis: int) -> Row:
        row = self.row(args[0])
        if name == "constant_pad_nd":
            args = [args[0], args[1], self.sheet.constant(args[2] if len(args) > 2 else 0.0)]
        if row.axis is None:  # a weight that is spread over the batch
            return Row(np.broadcast_to(row.units, shape), axis)
        if not keeps_batch(name, row.units.shape, row.axis, shape, axis):
            raise refuse_node(q, "a view that mixes rows", "keep the batch as the first axis")
        found = VIEWS[name](row.units, shape, *args[1:])
        if found.shape != shape:
            raise refuse_node(q, f"{name} over the batch", APART)
        return Row(found, axis)

    # --- products, reductions, embeddings

    def products(self, q: Node, a: Row, b: Row) -> Row | Total:
        """Matrix products, one by one: [G, M, K] · [G, K, N]."""
        if a.units.ndim == 2:
            a, b = (Row(r.units[None], None if r.axis is None else r.axis + 1) for r in (a, b))
        G, M, N = max(len(a.units), len(b.units)), a.units.shape[1], b.units.shape[2]
        left, right = (np.broadcast_to(r.units, (G, *r.units.shape[1:])) for r in (a, b))
        if a.axis == 2 and b.axis == 1:
            total = np.stack([self.totals.contract(left[g].T, right[g]) for g in range(G)], -1)
            arrays = [np.moveaxis(t, -1, 0) for t in total]
            return Total(tuple(x if q.meta["val"].dim() == 3 else x[0] for x in arrays))
        if a.axis == 2 or b.axis == 1:
            raise refuse_node(q, "a product over the batch", APART)
        axis = a.axis if a.axis is not None else b.axis
        assert axis is not None
        out = np.empty((G, M, N), dtype=np.int64)
        if self.is_weight(right):
            for g in range(G):
                for i in range(M):
                    out[g, i] = self.sheet.product(weight_of(self.sheet, q, right[g].T), left[g, i])
        elif self.is_weight(left):
            for g in range(G):
                for j in range(N):
                    out[g, :, j] = self.sheet.product(weight_of(self.sheet, q, left[g]), right[g, :, j])
        elif axis == 0:
            for g in range(G):
                out[g] = product_of_two(self.sheet, left[g], right[g])
        else:
            raise refuse_node(q, "a product of values of different rows", APART)
        return Row(out if q.meta["val"].dim() == 3 else out[0], axis if q.meta["val"].dim() == 3 else axis - 1)

    def sum_of_products(self, q: Node, addend: Row, a: Row, b: Row) -> Row:
        """beta addend + alpha (a · b)."""
        product = self.products(q, a, b)
        if isinstance(product, Total):
            raise refuse_node(q, "a sum over the batch", APART)
        beta, alpha, shape = q.kwargs.get("beta", 1), q.kwargs.get("alpha", 1), product.units.shape
        scaled = self.sheet.elementwise("mul", [product.units, alpha], shape)
        rest = self.sheet.elementwise("mul", [np.broadcast_to(addend.units, shape), beta], shape)
        return Row(self.sheet.elementwise("add", [scaled, rest], shape), product.axis)

    def is_weight(self, units: Numbers) -> bool:
        values = {id(v): v for v, _ in map(self.sheet.find, units.ravel()[[0, -1]].tolist())}
        return all(v.kind == "weight" for v in values.values())

    def reduction(self, q: Node, name: str, args: list[Any]) -> Row | Total:
        row = self.row(args[0])
        a, batch_axis = row.units, row.axis
        dims = args[1] if len(args) > 1 and args[1] is not None and args[1] != [] else list(range(a.ndim))
        dims = [d % a.ndim for d in (dims if isinstance(dims, list | tuple) else [dims])]
        over_batch = batch_axis in dims
        if over_batch and name != "sum":
            raise refuse_node(q, f"{name} over the batch", APART)
        rest = [i for i in range(a.ndim) if i not in dims]
        arranged = a.transpose([*rest, *dims]).reshape(*(a.shape[i] for i in rest), -1)
        count = arranged.shape[-1]
        out = np.empty(arranged.shape[:-1], dtype=np.int64)
        for index in np.ndindex(*out.shape):
            out[index] = reduced(self.sheet, name, arranged[index], q)
        if name == "mean" and count > 1:
            out = self.sheet.elementwise("div", [out, float(count)], out.shape)
        if over_batch:
            return Total((self.totals.sum_of(out).reshape(tuple(q.meta["val"].shape)),))
        return Row(out.reshape(shape_of(q, self.batch)), axis_of(q, self.batch))

    def embedding(self, q: Node, table: Node, symbols: Node, padding: int = -1, *_: Any) -> Row:
        matrix = self.row(table).units.T
        value = self.symbols(q, symbols, matrix.shape[1])
        if padding >= 0:
            raise refuse_node(q, "an Embedding with padding_idx", "leave it out, and pass lengths")
        return Row(self.sheet.product(weight_of(self.sheet, q, matrix), self.sheet.units(value))[None], 0)

    def embedding_backward(self, q: Node, delta: Node, symbols: Node, count: int, *_: Any) -> Total:
        value = self.symbols(q, symbols, count)
        [entries] = self.totals.contract(self.row(delta).units, self.sheet.units(value)[None])
        return Total((entries.T,))

    def symbols(self, q: Node, symbols: Node, count: int) -> Value:
        """The input of integer symbols, 0 … count − 1."""
        while name_of(symbols) in SAME:
            symbols = symbols.args[0]
        k = self.found.get(symbols)
        if not isinstance(k, int):
            raise refuse_node(q, "an Embedding of numbers made within the step", "embed symbols of the input, [B]")
        value = self.inputs[k]
        if value is None:
            value = self.inputs[k] = self.sheet.new("input", count, k)
        if value.width != count:
            raise refuse_node(q, f"two Embeddings of different sizes ({value.width} and {count}) for the same symbols")
        return value

    # --- gradients of weights

    def check_cuts(self) -> None:
        """Every trained tensor that rows read on the way forward has to be one whose gradient was asked for."""
        trained = self.made_of_trained()
        cut = {self.base(leaf) for leaf in self.capture.leaves}
        back = self.after_upstream()
        for q in self.weights:
            if q in trained and q not in cut and any(self.rows[u] and u not in back for u in _readers(q, self.rows)):
                raise refuse_node(
                    q,
                    "a tensor made of parameters that enters an autograd.Function",
                    "register it as a parametrization",
                )

    def base(self, q: Node) -> Node:
        units = self.row(q).units
        return self.weights[self.sheet.find(int(units.flat[0]))[0].of]

    def made_of_trained(self) -> set[Node]:
        """The nodes of the call level that depend on what has a gradient."""
        found = {*self.capture.leaves, *(self.base(leaf) for leaf in self.capture.leaves)}
        for q in self.capture.module.graph.nodes:
            if not self.rows.get(q, True) and any(a in found for a in q.all_input_nodes):
                found.add(q)
        return found

    def after_upstream(self) -> set[Node]:
        found = set(self.capture.upstream)
        for q in self.capture.module.graph.nodes:
            if any(a in found for a in q.all_input_nodes):
                found.add(q)
        return found


def _readers(q: Node, rows: dict[Node, bool]) -> list[Node]:
    """What reads a weight, also through views of it."""
    found, todo = [], [q]
    while todo:
        for user in todo.pop().users:
            if (
                user.op == "call_function"
                and not rows[user]
                and (name_of(user) in VIEWS or name_of(user) in SPLITS or name_of(user) == "getitem")
            ):
                todo.append(user)
            elif user.op == "call_function":
                found.append(user)
    return found


def _axes(q: Node, batch: int) -> list[int | None]:
    pieces = q.meta["val"]
    return [next((i for i, k in enumerate(p.shape) if k and k % batch == 0), None) for p in pieces]
