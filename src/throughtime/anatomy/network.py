"""A network run on a batch and laid open: its recurrences, and how the loss of one step reaches their states.

The derivative of one loss `L_t` enters the top layer's states at step t alone, as Vᵀ e_t. It reaches a lower layer through the
recurrences above, and so at every step they connect with t: the same backward sweep, with the losses as its batch. The one loss
of a sequence to be classified enters where its states are read: at the last step that each direction of the top layer walks, or
at all steps, where their mean is read.

Layout as in `ops`: time first. Everything here carries the loss's normaliser (B, or the number of steps that count), so that
the paths of all losses sum to the gradient of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.anatomy.recurrence import Elman, Programmed, Recurrence
from throughtime.core import loss
from throughtime.core.notation import (
    IGNORED,
    REDUCTIONS,
    check_choice,
    check_inputs,
    check_label_range,
    check_labels,
    check_lengths,
    check_shape,
    check_symbol_range,
    is_symbols,
    real_steps,
)
from throughtime.core.weights import settled
from throughtime.engines import reference_program
from throughtime.models.model import ElmanNetwork, bptt
from throughtime.models.reading import READERS
from throughtime.models.states import State, parts
from throughtime.models.word_encoder import WordEncoder
from throughtime.nn import RNN, Recurrent
from throughtime.nn.layers import Layers
from throughtime.operators import ops
from throughtime.operators.program_ops import run_program
from throughtime.programs.calls import Batch
from throughtime.programs.calls import Recurrence as Call
from throughtime.programs.program import Window


@dataclass(frozen=True)
class Unrolled:
    """A network's recurrences on a batch, its losses, and the gradient of training for one chosen recurrence."""

    layers: tuple[tuple[Recurrence, ...], ...]
    read: Tensor  # what the readout sees where there is a loss, [T, B, directions · d]
    entering: (
        Tensor | None
    )  # ∂L/∂(states of the top layer) [T, B, directions · d], where an instance has one loss; else None
    V: Tensor  # [k, directions · d]
    counts: Tensor  # bool [T, B]: where there is a loss
    lengths: tuple[int, ...]
    losses: Tensor  # [T, B]
    errors: Tensor  # e_t / normaliser [T, B, k]
    layer: int
    direction: int
    gradient: dict[str, Tensor]  # of the loss by each weight of the chosen recurrence and by V, c

    @property
    def chosen(self) -> Recurrence:
        return self.layers[self.layer][self.direction]

    @property
    def reaches(self) -> tuple[bool, bool]:
        """Whether a loss reaches earlier steps, and whether it reaches later ones."""
        directions = {self.chosen.reverse} | {r.reverse for layer in self.layers[self.layer + 1 :] for r in layer}
        return False in directions, True in directions

    def span(self, instance: int, first: int, last: int) -> slice:
        """The steps that the losses first..last−1 (counted from 0) of an instance reach."""
        earlier, later = self.reaches
        return slice(0 if earlier else first, self.lengths[instance] if later else last)

    def deltas(self, instance: int, first: int, last: int, elementwise: bool = False) -> Mapping[Window, Tensor]:
        """δ_{t,k} [K, R, width] of the losses t = first..last−1 (counted from 0) at the K steps k of their `span`, for each
        product of the chosen recurrence; `elementwise`: along routes in it that cross no product alone."""
        steps, R = self.span(instance, first, last), last - first
        e = self.errors[first:last, instance]
        reaching = e.new_zeros(steps.stop - steps.start, R, self.V.shape[1])
        if self.entering is not None:
            reaching[:, 0] = self.entering[steps, instance]
        else:
            row = torch.arange(R)
            reaching[row + first - steps.start, row] = e @ self.V
        for layer in reversed(self.layers[self.layer + 1 :]):
            parts = reaching.chunk(len(layer), -1)
            reaching = sum((r.sweep(p, instance, steps).inputs for r, p in zip(layer, parts)), torch.tensor(0.0))
        part = reaching.chunk(len(self.layers[self.layer]), -1)[self.direction]
        return self.chosen.sweep(part, instance, steps, elementwise).by_window


def unroll(
    net: Any,
    x: Tensor,
    y: Tensor,
    lengths: Any,
    s0: Any,
    reduction: str,
    layer: int,
    direction: int,
    readout: nn.Linear | None,
) -> Unrolled:
    """Run a network on a batch and lay it open; the arguments are those of `anatomy`."""
    check_choice("reduction", reduction, REDUCTIONS)
    net, readout = settled(net), None if readout is None else settled(readout)
    recurrent, embedding, V, c = _parts(net, readout)
    if isinstance(recurrent, Recurrent):
        _trace(recurrent, x, embedding)
        check_shape("readout.weight", V, ("k", "d"), (None, _width(recurrent)))
    weights = _weights(recurrent)
    if not -len(weights) <= layer < len(weights):
        raise ValueError(f"layer: expected −{len(weights)} to {len(weights) - 1}, found {layer}")
    if not 0 <= direction < len(weights[0]):
        raise ValueError(f"direction: expected 0{' or 1' if len(weights[0]) == 2 else ''}, found {direction}")
    n = _input_size(recurrent, weights) if embedding is None else embedding.num_embeddings
    several = isinstance(embedding, WordEncoder) and isinstance(x, Tensor) and x.dim() == 3
    words = x[..., 0] if several else x
    B, T = check_inputs(words, n, V.dtype)
    lengths = check_lengths(lengths, B, T)
    if is_symbols(x):
        check_symbol_range(words, n, lengths)
    layer %= len(weights)
    rows = torch.full((B,), T) if lengths is None else lengths
    task = getattr(net, "task", "tag")
    at = None if task != "classify" else torch.zeros_like(rows) if layer == len(weights) - 1 and direction else rows - 1
    targets, counts = _targets(y, T, lengths, V.shape[0], task, at)
    leaves = [[{name: _leaf(p) for name, p in r.items()} for r in layer_weights] for layer_weights in weights]
    V, c = _leaf(V), _leaf(c)
    with torch.enable_grad():
        layers, top = _run(
            leaves, _embedded(x, embedding, lengths), _initial(net, recurrent, s0, B), lengths, recurrent
        )
        read = top if at is None else _read(net, top, rows, at)
        z = read @ V.T + c
        losses = _losses(z, targets)
        value = losses.sum() / (B if reduction == "sequence" else max(int(counts.sum()), 1))
        wanted = {**leaves[layer][direction], "V": V, "c": c, "z": z, "top": top}
        gradient = dict(zip(wanted, torch.autograd.grad(value, list(wanted.values()))))
        errors, entering = gradient.pop("z"), gradient.pop("top")
        if isinstance(net, ElmanNetwork):
            gradient = {
                name: g for name, g in bptt(net, x, y, lengths, reduction, s0=s0)[1]._asdict().items() if name in wanted
            }
    return Unrolled(
        layers=layers,
        read=read.detach(),
        entering=None if at is None else entering,
        V=V.detach(),
        counts=counts,
        lengths=tuple(rows.tolist()),
        losses=losses.detach(),
        errors=errors,
        layer=layer,
        direction=direction,
        gradient=gradient,
    )


def _targets(y: Tensor, T: int, lengths: Tensor | None, k: int, task: str, at: Tensor | None) -> tuple[Tensor, Tensor]:
    """The targets of every step, time first (−100 or NaN where there is none), and which steps have one [T, B]."""
    B = y.shape[0]
    if task == "forecast":
        check_shape("y", y, ("B", "T", "k"), (B, T, k))
        real = real_steps(T, lengths, y.device).T
        targets = y.transpose(0, 1).where(real.unsqueeze(-1), torch.nan)
        return targets, ~targets.isnan().all(-1)
    if at is not None:
        check_shape("y", y, ("B",), (B,))
        y = torch.full((B, T), IGNORED).scatter(1, at.unsqueeze(1), y.long().unsqueeze(1))
    y = check_labels(y, B, T)
    check_label_range(y, k, lengths)
    targets = loss.counted_labels(y.T, lengths)
    return targets, targets != IGNORED


def _losses(z: Tensor, targets: Tensor) -> Tensor:
    """L_t [T, B]: cross-entropy of labels [T, B], or mean squared error of values [T, B, k]; 0 where there is no target."""
    if targets.dim() == 2:
        return loss.step_losses(z, targets)
    known = ~targets.isnan()
    return (z - targets).where(known, 0.0).square().sum(-1) / known.sum(-1).clamp_min(1)


def _read(net: Any, top: Tensor, lengths: Tensor, at: Tensor) -> Tensor:
    """What the readout sees [T, B, D] of a network with one loss for each sequence: at step `at` of each row, else 0.

    Args: top: the states [T, B, D] of the last layer, of both directions where there are two.
    """
    row, d = torch.arange(len(lengths)), net.rnn.hidden_size
    final = torch.cat([top[lengths - 1, row, :d], top[torch.zeros_like(row), row, d:]], -1)
    one = READERS[getattr(net, "read", "last")](top.transpose(0, 1), final, lengths, getattr(net, "query", None))
    return torch.zeros_like(top).index_put((at, row), one)


def _leaf(parameter: Tensor) -> Tensor:
    return parameter.detach().requires_grad_()


def _parts(net: Any, readout: nn.Linear | None) -> tuple[Any, nn.Embedding | WordEncoder | None, Tensor, Tensor]:
    """The recurrent part of a network, its embedding, and V and c of its readout."""
    if isinstance(net, ElmanNetwork):
        return net, None, net.V, net.c
    recurrent = net if isinstance(net, Layers | Recurrent) else getattr(net, "rnn", None)
    if not isinstance(recurrent, Layers | Recurrent):
        raise TypeError(
            f"net: expected an ElmanNetwork, a SequenceModel, or a layer of throughtime.nn, found {type(net).__name__}"
        )
    linear = getattr(net, "readout", None) if readout is None else readout
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"readout: expected a torch.nn.Linear from states to classes, found {type(linear).__name__}")
    if isinstance(recurrent, Layers):
        check_shape("readout.weight", linear.weight, ("k", "d"), (None, _width(recurrent)))
    if recurrent.dropout and recurrent.training:
        raise ValueError("net: expected no dropout, or net.eval(): dropout draws another network at every run")
    c = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return recurrent, getattr(net, "embedding", None), linear.weight, c


def _width(recurrent: Any) -> int:
    """The units that a readout sees."""
    program, _ = recurrent.recurrences()[-1]
    return program.outputs[0].width * (2 if recurrent.bidirectional else 1)


def _input_size(recurrent: Any, weights: list[list[dict[str, Tensor]]]) -> int:
    if isinstance(recurrent, ElmanNetwork | RNN):
        return weights[0][0]["U"].shape[1]
    return recurrent.recurrences()[0][0].inputs[0].width


def _trace(recurrent: Recurrent, x: Any, embedding: Any) -> None:
    """Run the layer once, so that its cells are programs; refuse what is none, or reads more than x."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor, found {type(x).__name__}")
    with torch.no_grad():
        steps = x if embedding is None else embedding(x.clamp_min(0))
        recurrent(steps if recurrent.batch_first else steps.transpose(0, 1))
    try:
        programs = [program for program, _ in recurrent.recurrences()]
    except RuntimeError as error:
        raise ValueError(f"net: expected cells that run as programs; {error}") from None
    if any(len(program.inputs) != 1 for program in programs):
        raise ValueError("net: expected cells that read x alone, found drives")


def _weights(recurrent: Any) -> list[list[dict[str, Tensor]]]:
    """The weights of every layer and direction by name: U, W, b of an Elman recurrence, else as its program names them."""
    if isinstance(recurrent, ElmanNetwork):
        return [[{"U": recurrent.U, "W": recurrent.W, "b": recurrent.b}]]
    if isinstance(recurrent, RNN):
        flat = [
            {"U": U, "W": W, "b": biases[0] + biases[1] if biases else W.new_zeros(W.shape[0])}
            for U, W, *biases in recurrent.all_weights
        ]
    else:
        flat = [
            dict(zip((w.name for w in (*program.matrices, *program.parameters)), weights, strict=True))
            for program, weights in recurrent.recurrences()
        ]
    directions = 2 if recurrent.bidirectional else 1
    return [flat[i : i + directions] for i in range(0, len(flat), directions)]


def _embedded(x: Tensor, embedding: nn.Embedding | WordEncoder | None, lengths: Tensor | None) -> Tensor:
    """The first layer's input, time first."""
    if embedding is None:
        return x.transpose(0, 1)
    real = real_steps(x.shape[1], lengths, x.device)
    symbols = x.where(real.unsqueeze(-1) if x.dim() == 3 else real, 0)
    return embedding(symbols.long()).detach().transpose(0, 1)


def _initial(net: Any, recurrent: Any, s0: State | None, B: int) -> list[tuple[Tensor | None, ...]]:
    """The initial state of every layer and direction, by part."""
    if isinstance(recurrent, ElmanNetwork):
        if s0 is not None:
            check_shape("s0", s0, ("B", "d"), (B, recurrent.d))
            return [(s0,)]  # type: ignore[list-item]
        return [(None if recurrent.s0 is None else recurrent.initial_state(B),)]
    directions = 2 if recurrent.bidirectional else 1
    count = recurrent.num_layers * directions
    widths = tuple(v.width for v in recurrent.recurrences()[0][0].state)
    if s0 is None and hasattr(net, "initial_state"):
        s0 = net.initial_state(B)
    if s0 is None:
        return [(None,) * len(widths)] * count
    if len(parts(s0)) != len(widths):
        raise ValueError(f"s0: expected {len(widths)} parts, found {len(parts(s0))}")
    for i, (part, width) in enumerate(zip(parts(s0), widths)):
        name = "s0" if len(widths) == 1 else f"s0[{i}]"
        check_shape(name, part, ("layers", "B", "d"), (count, B, width))
    return [tuple(part[i] for part in parts(s0)) for i in range(count)]


def _run(
    weights: list[list[dict[str, Tensor]]],
    x: Tensor,
    initial: list[tuple[Tensor | None, ...]],
    lengths: Tensor | None,
    recurrent: Any,
) -> tuple[tuple[tuple[Recurrence, ...], ...], Tensor]:
    """Every recurrence laid open, detached, and the states of the top layer with their graph [T, B, directions · d]."""
    layers: list[tuple[Recurrence, ...]] = []
    T, B = x.shape[:2]
    steps = tuple([T] * B if lengths is None else lengths.tolist())
    programs = None if isinstance(recurrent, ElmanNetwork | RNN) else [p for p, _ in recurrent.recurrences()]
    for i, layer in enumerate(weights):
        opened: list[Recurrence] = []
        outputs: list[Tensor] = []
        for j, named in enumerate(layer):
            at, reverse = i * len(layer) + j, j == 1
            first = initial[at]
            own = {name: w.detach() for name, w in named.items()}
            begin = tuple(None if s is None else s.detach() for s in first)
            if programs is None:
                kind = recurrent.nonlinearity
                states, _ = ops.recurrence(x, named["U"], named["W"], named["b"], first[0], lengths, kind, reverse)
                opened.append(Elman(x.detach(), own, begin, states.detach(), steps, kind, reverse))
            else:
                (states,), _ = run_program(
                    programs[at], tuple(named.values()), (x,), first, lengths=lengths, reverse=reverse
                )
                call, batch = (
                    Call(programs[at], tuple(own.values())),
                    Batch((x.detach(),), begin, lengths, reverse=reverse),
                )
                with torch.no_grad():
                    walk = reference_program.forward(call, batch, True)
                opened.append(Programmed(programs[at], x.detach(), own, begin, walk, steps, reverse))
            outputs.append(states)
        layers.append(tuple(opened))
        x = torch.cat(outputs, -1)
    return tuple(layers), x
