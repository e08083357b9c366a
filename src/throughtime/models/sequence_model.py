"""Models for sequences beyond the textbook's: an embedding, a stack of recurrent layers, a readout, and the loss of a task.

    x -> (embedding) -> tt.nn.RNN, LSTM, GRU or any cell, layer on layer, in one or both directions -> ŷ = V s + c

    task         reads                              targets y                    loss
    "tag"        the states of every step           labels [B, T]                cross-entropy
    "lm"         the states of every step           the next symbols [B, T]      cross-entropy
    "forecast"   the states of every step           values [B, T, k]             squared error
    "classify"   one vector of all states           a label for each row [B]     cross-entropy
    "regress"    one vector of all states           values for each row [B, k]   squared error

How the states of a row become one vector stands in `reading`, what a word's vector may hold besides in `word_encoder`; the
losses and their reductions are those of `loss`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from throughtime.core import loss as losses
from throughtime.core.dispatch import readable, unwatched
from throughtime.core.notation import (
    NONLINEARITIES,
    REDUCTIONS,
    check_choice,
    check_finite,
    check_inputs,
    check_label_range,
    check_labels,
    check_lengths,
    check_sample_weight,
    check_shape,
    check_size,
    check_starts,
    check_symbol_range,
    is_symbols,
    real_steps,
)
from throughtime.core.randomness import drawing_from, dropout
from throughtime.core.weights import dtype_of, settled
from throughtime.models.cell_layers import CellFactory, CellLayers, cell_name
from throughtime.models.model import parameter_table
from throughtime.models.reading import READERS, make_query
from throughtime.models.states import State, each, named, parts
from throughtime.models.stream import Stream
from throughtime.models.torch_network import TorchNetwork, like, torch_rnn
from throughtime.models.word_encoder import WordEncoder
from throughtime.nn import GRU, LAYERS, LSTM, RNN
from throughtime.nn.functional import linear_cross_entropy
from throughtime.operators import ops, step
from throughtime.operators.program_step import program_loss
from throughtime.programs.calls import Batch, Recurrence

TASKS = ("tag", "classify", "lm", "forecast", "regress")
OF_ROWS = ("classify", "regress")
"""The tasks whose targets belong to whole rows."""
OF_VALUES = ("forecast", "regress")
"""The tasks whose targets are values."""


class SequenceModel(nn.Module):
    """A stack of recurrent layers for a task.

    Args:
        n: inputs; for integer symbols, the number of symbols.
        d: states of each layer and direction.
        k: classes, or values to predict for each step or row.
        embedding: the size of a learned vector for each symbol, which the first layer reads in place of the one-hot vector;
            None for no embedding, and then x may also hold float vectors.
        columns: the number of symbols in each further column that a step has beside its word, see `word_encoder`.
        alphabet: the number of characters that words are spelt with; 0: spellings are not read.
        characters: size of the vector that a word's spelling becomes; half of it is each direction's.
        read: what "classify" and "regress" read: "last", "mean" or "attention", see `reading`. Nothing for other tasks.
        layers: recurrent layers on top of each other.
        bidirectional: whether each layer also walks the sequences from their ends. Not for "lm" and "forecast": a walk from the
            end has already read what they are to predict.
        dropout: probability of zeroing each state between two layers while training.
        input_dropout: the same of each number that the first layer reads (none of integer symbols without an embedding).
        readout_dropout: the same of each state that the readout reads.
        nonlinearity: σ of an Elman recurrence: "tanh", "relu", "logistic" or "identity". The gated cells have their own.
        cell: what a layer's recurrence is: "elman", "lstm" (whose forget gates start open, with biases of 1) or "gru"; or a
            class or function that makes a cell for `tt.nn.Recurrent`, called as cell(inputs, d), such as those of `tt.cells`.
        task: "tag", "classify", "lm", "forecast" or "regress": see the module's table.
        dtype: of the parameters; float32 where None.

    Its parts are `embedding` (`torch.nn.Embedding`, a `WordEncoder` where there are columns or an alphabet, or None), `rnn`
    (`tt.nn.RNN`, `LSTM` or `GRU`; a `tt.nn.Recurrent` of a cell that was given), `query` (`torch.nn.Linear` of "attention", or
    None) and `readout` (`torch.nn.Linear`, whose weight is V and whose bias is c). Each may be exchanged: `forward` and `loss`
    call what is there.

    Raises: TypeError, ValueError: an argument of the wrong kind, shape or range, named with what was expected and found.
    """

    def __init__(
        self,
        n: int,
        d: int,
        k: int,
        *,
        embedding: int | None = None,
        columns: Sequence[int] = (),
        alphabet: int = 0,
        characters: int = 64,
        read: str = "last",
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        readout_dropout: float = 0.0,
        nonlinearity: str = "tanh",
        cell: str | CellFactory = "elman",
        task: str = "tag",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.n, self.d, self.k = check_size("n", n), check_size("d", d), check_size("k", k)
        self.layers = check_size("layers", layers)
        check_choice("task", task, TASKS)
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        if bidirectional and task in ("lm", "forecast"):
            raise ValueError(f"bidirectional: expected False for task {task!r}, found {bidirectional!r}")
        check_choice("read", read, tuple(READERS))
        for name, share in (("input_dropout", input_dropout), ("readout_dropout", readout_dropout)):
            if not 0 <= share < 1:
                raise ValueError(f"{name}: expected a share of 0 or more and below 1, found {share}")
        self.task, self.dropout, self.nonlinearity = task, dropout, nonlinearity
        self.input_dropout, self.readout_dropout = input_dropout, readout_dropout
        self.bidirectional, self.read = bidirectional, read
        self.columns, self.alphabet, self.characters = tuple(columns), alphabet, characters
        self.embedding = self._make_embedding(embedding, dtype)
        m = n if self.embedding is None else self.embedding.embedding_dim
        self.cell = cell
        self.rnn = self._make_rnn(m, dtype)
        self.query = make_query(read, d * self.directions, dtype=dtype) if task in OF_ROWS else None
        self.readout = nn.Linear(d * self.directions, k, dtype=dtype)

    def _make_embedding(self, size: int | None, dtype: torch.dtype | None) -> nn.Embedding | WordEncoder | None:
        several = bool(self.columns) or self.alphabet > 0
        if size is None:
            if several:
                raise ValueError("embedding: expected a size, as there are columns or characters, found None")
            return None
        if not several:
            return nn.Embedding(self.n, check_size("embedding", size), dtype=dtype)
        parts = {"columns": self.columns, "alphabet": self.alphabet, "characters": self.characters}
        return WordEncoder(self.n, check_size("embedding", size), **parts, dtype=dtype)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters anew, as PyTorch initialises such parts, from a random generator; None: PyTorch's global one."""
        if self.embedding is not None:
            for table in (part for part in self.embedding.modules() if isinstance(part, nn.Embedding)):
                nn.init.normal_(table.weight, generator=generator)
                if table.padding_idx is not None:
                    table.weight.data[table.padding_idx] = 0
            for part in self.embedding.modules():
                if isinstance(part, RNN):
                    _draw(part, generator)
        if isinstance(self.rnn, CellLayers):
            self._draw_cells(generator)
        else:
            _draw(self.rnn, generator)
            _open_forget_gates(self.rnn)
        if self.query is not None:
            nn.init.kaiming_uniform_(self.query.weight, math.sqrt(5), generator=generator)
        nn.init.kaiming_uniform_(self.readout.weight, math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(self.readout.in_features)
        nn.init.uniform_(self.readout.bias, -bound, bound, generator)

    @torch.no_grad()
    def _draw_cells(self, generator: torch.Generator | None) -> None:
        """Parameters and buffers as new cells have them, which draw from the global generator alone."""
        with torch.random.fork_rng(devices=[], enabled=generator is not None):
            if generator is not None:
                torch.manual_seed(int(torch.randint(1 << 62, (), generator=generator)))
            fresh = self._make_rnn(self.rnn.input_size, dtype_of(self.rnn))
        for own, new in zip(self.rnn.parameters(), fresh.parameters(), strict=True):
            own.copy_(new)
        for own, new in zip(self.rnn.buffers(), fresh.buffers(), strict=True):
            own.copy_(new)

    def _make_rnn(self, m: int, dtype: torch.dtype | None) -> Any:
        options: dict[str, Any] = {"dropout": self.dropout, "bidirectional": self.bidirectional, "dtype": dtype}
        if self.cell != "elman" and self.nonlinearity != "tanh":
            raise ValueError(f"nonlinearity: expected none with the cell {self.cell!r}, found {self.nonlinearity!r}")
        if not isinstance(self.cell, str):
            if not callable(self.cell) or isinstance(self.cell, nn.Module):
                found = type(self.cell).__name__
                raise TypeError(f"cell: expected a name, or a class or function that makes a cell, found {found}")
            return CellLayers(self.cell, m, self.d, self.layers, **options)
        check_choice("cell", self.cell, tuple(LAYERS))
        if self.cell == "elman":
            options["nonlinearity"] = self.nonlinearity
        rnn = LAYERS[self.cell](m, self.d, self.layers, batch_first=True, **options)
        _open_forget_gates(rnn)
        return rnn

    @property
    def directions(self) -> int:
        """2 for a bidirectional model, else 1."""
        return 2 if self.bidirectional else 1

    def word_table(self) -> nn.Embedding:
        """The learned vectors of the symbols, where pretrained ones may be put. Raises: ValueError: there is no embedding."""
        if self.embedding is None:
            raise ValueError("embedding: expected a model with one, found None")
        return self.embedding.words if isinstance(self.embedding, WordEncoder) else self.embedding

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        s0: State | None = None,
        *,
        starts: Tensor | None = None,
        return_state: bool = False,
    ) -> Any:
        """What the model says about sequences x.

        Args:
            x: integer symbols [B, T], or (without an embedding) floats [B, T, n]; for a `WordEncoder` integers [B, T, …].
            lengths: [B], each in 1..T; later steps are padding, which is never read and whose output is c.
            s0: initial states [layers, B, d], of an LSTM a pair of them (h, c); zero where None. Only in a model of one
                direction.
            starts: bool [B, T], the first steps of pieces that lie one after another in a row, such as episodes: what the model
                says of each, and its gradients, are those of the piece alone, from zero. s0 belongs to a row's first piece, or
                to none where the very first step is marked; marks in the padding mean nothing. Not where a row has one target.
            return_state: also return the final states, of each row's last piece, shaped like s0. Only in a model of one
                direction.

        Returns: logits or values [B, T, k]; [B, k] for "classify" and "regress".
        """
        x, lengths = self._read(x, lengths, s0, starts, return_state)
        states, final = self._states(x, lengths, s0, starts)
        z = self.readout(states)
        return (z, final) if return_state else z

    def loss(
        self,
        x: Tensor,
        y: Tensor,
        lengths: Tensor | None = None,
        reduction: str = "sequence",
        *,
        sample_weight: Tensor | None = None,
        s0: State | None = None,
        starts: Tensor | None = None,
        return_state: bool = False,
        generator: torch.Generator | None = None,
    ) -> Any:
        """The loss of the model's task, a differentiable scalar: cross-entropy in nats, or squared error.

        Args:
            x, lengths, s0, starts: as in `forward`.
            y: labels [B, T] in 0..k−1, where one of −100 has no loss; or values [B, T, k], where a NaN has none. Without T for
                "classify" and "regress".
            reduction: "sequence": summed over the steps of a row, averaged over the B rows; "token": averaged over what counts.
            sample_weight: [B] of whole rows or [B, T] of their steps, each 0 or more: sums of weights take the place of the
                counts, as `throughtime.core.loss` says.
            return_state: also return the final states, cut from the gradient: what truncated BPTT carries on.
            generator: what dropout draws from; None: PyTorch's global generator.
        """
        check_choice("reduction", reduction, REDUCTIONS)
        with drawing_from(generator):
            x, lengths = self._read(x, lengths, s0, starts, return_state)
        sizes = {"B": x.shape[0], "T": x.shape[1], "k": self.k}
        axes = [a for a in sizes if (a != "T" or self.task not in OF_ROWS) and (a != "k" or self.task in OF_VALUES)]
        check_shape("y", y, axes, [sizes[a] for a in axes])
        if self.task in OF_ROWS:  # a row has one loss, as if it were one step
            y = y.unsqueeze(1)
        if self.task in OF_VALUES:
            if y.dtype != dtype_of(self.rnn):
                raise TypeError(f"y: expected {dtype_of(self.rnn)} like the parameters, found {y.dtype}")
        else:
            y = check_labels(y, *y.shape)
        weights = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, y.shape[0], y.shape[1], dtype_of(self.rnn), x.device).T
        if weights is None and starts is None and self._is_at_once(RNN):
            value, final = self._elman_loss(x, y, lengths, reduction, s0, return_state)
            return (value, final) if return_state else value
        if weights is None and self._is_at_once(LSTM, GRU) and self._reads_plainly():
            value, final = self._program_loss(x, y, lengths, reduction, s0, starts, return_state)
            return (value, final) if return_state else value
        if self.task not in OF_VALUES and readable(y):
            check_label_range(y, self.k, lengths)
        with drawing_from(generator):
            states, final = self._states(x, lengths, s0, starts)
        if weights is None and self.task not in OF_VALUES and self._reads_plainly():
            labels = losses.counted_labels(y.T, lengths)
            V, c = self.readout.weight, self.readout.bias
            total = linear_cross_entropy(states.flatten(0, -2), V, labels.T.flatten(), linear_bias=c, reduction="sum")
            value = total / losses.normalizer(labels, reduction)
            return (value, each(Tensor.detach, final)) if return_state else value
        z = self.readout(states)
        loss = losses.squared_error if self.task in OF_VALUES else losses.cross_entropy
        z = z.unsqueeze(1) if self.task in OF_ROWS else z
        value = loss(z.transpose(0, 1), y.transpose(0, 1), lengths, reduction, weights)
        return (value, each(Tensor.detach, final)) if return_state else value

    def initial_state(self, B: int) -> State:
        """The states [layers · directions, B, d] that `B` sequences start from: zero; of an LSTM a pair of them, (h, c), of a
        cell that was given one for each part of its state, whose size stands in the place of d."""
        if isinstance(self.rnn, CellLayers):
            return self.rnn.initial_state(B)
        like = next(self.parameters())
        shape = self.layers * self.directions, B, self.d
        zeros = tuple(like.new_zeros(shape, dtype=dtype_of(self.rnn)) for _ in self.rnn.state_parts)
        return zeros if len(zeros) > 1 else parts(zeros)[0]

    def stream(self, state: State | None = None) -> Stream:
        """Follow sequences as they come: a function of one step, x [B] or [B, n], to what the model says there, [B, k].

            follow = model.eval().stream()
            for x_t in steps:
                z_t = follow(x_t)            # as model(x)[:, t] of the whole sequence

        The model that classifies or predicts one value for a row tells at each step what it would say if the row ended there.

        Args: state: to begin with, shaped as `initial_state` has it; zero where None.

        Raises: ValueError: a model of both directions, or one that reads the mean of all states: it would have to know the end,
            or all that has been.
        """
        if self.bidirectional:
            raise ValueError("stream: expected a model of one direction, found bidirectional")
        if self.task in OF_ROWS and self.read != "last":
            raise ValueError(f"stream: expected a model that reads the last state, found read={self.read!r}")
        return Stream(self, state)

    def to_torch(self) -> TorchNetwork:
        """The same model as torch.nn.Embedding, torch.nn.RNN, LSTM or GRU, and torch.nn.Linear, with its own copy of the
        weights, whose names are the same.

        Raises:
            ValueError: a nonlinearity that torch.nn.RNN does not have.
            TypeError: a part was exchanged for one of another kind; the message names it.
        """
        if not isinstance(self.cell, str):
            raise TypeError(f"cell: expected one that torch.nn has a layer of, found {cell_name(self.cell)}")
        model = settled(self)
        embedding, rnn, readout = model.embedding, model.rnn, model.readout
        for name, kind in (("embedding", nn.Embedding), ("rnn", LAYERS[self.cell]), ("readout", nn.Linear)):
            part = getattr(model, name)
            if part is not None and (type(part) is not kind or "forward" in vars(part)):
                raise TypeError(f"{name}: expected a plain {kind.__name__}, found {type(part).__name__}")
        if not rnn.batch_first:
            raise TypeError("rnn: expected batch_first, found time first")
        plain = TorchNetwork(
            None if embedding is None else nn.Embedding(embedding.num_embeddings, embedding.embedding_dim, **like(self)),
            torch_rnn(self, rnn),
            nn.Linear(readout.in_features, readout.out_features, bias=readout.bias is not None, **like(self)),
            read=self.read if self.task in OF_ROWS else None,
        )  # fmt: skip
        return plain.take(model.state_dict(), self.training)

    @property
    def num_parameters(self) -> int:
        """The number of all parameters."""
        return sum(p.numel() for p in self.parameters())

    def describe(self) -> str:
        """A table of the parameters: shape by letters (m: the embedding's size) and in numbers, and count, with their sum."""
        states = "d" if self.directions == 1 else "2d"
        first = "n" if self.embedding is None else "m"
        gates = {"elman": "d", "lstm": "4d", "gru": "3d"}.get(str(self.cell), "")
        rows = {}
        for name, parameter in self.named_parameters():
            if name.startswith("embedding."):
                letters: tuple[str, ...] = ("n" if name == "embedding.weight" else "", "m")
            elif name.startswith("query"):
                letters = ("1", states)
            elif name.startswith("readout"):
                letters = ("k", states)
            elif not isinstance(self.cell, str):  # the cell's own
                letters = ()
            elif "weight_ih" in name:
                letters = (gates, first if "_l0" in name else states)
            else:
                letters = (gates, "d")
            rows[name] = (letters[: parameter.dim()], parameter.shape)
        return f"{parameter_table(rows)}\nsum = {self.num_parameters:,}"

    def extra_repr(self) -> str:
        return f"n={self.n}, d={self.d}, k={self.k}, task={self.task!r}"

    def _read(
        self, x: Tensor, lengths: Any, s0: State | None, starts: Any, return_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        """What the first layer reads, [B, T, m] or symbols [B, T], and the lengths; all arguments are checked."""
        if self.bidirectional and (s0 is not None or return_state):
            what = "s0" if s0 is not None else "return_state"
            raise ValueError(
                f"{what}: expected a model of one direction, for states to be carried on, found bidirectional"
            )
        if self.embedding is not None and isinstance(x, Tensor) and not is_symbols(x):
            raise TypeError(f"x: expected integer symbols for the embedding, found {x.dtype}")
        encoder = self.embedding if isinstance(self.embedding, WordEncoder) else None
        words = x[..., 0] if encoder is not None and isinstance(x, Tensor) and x.dim() == 3 else x
        B, T = check_inputs(words, self.n, dtype_of(self.rnn))
        lengths = check_lengths(lengths, B, T)
        if s0 is not None:
            self._check_state(s0, B)
        if starts is not None:
            if self.task in OF_ROWS:
                raise ValueError(f"starts: expected None for task {self.task!r}, whose rows are one piece each")
            check_starts(starts, (B, T), batch_first=True)
        if readable(x):
            if encoder is not None:
                encoder.check(x, lengths)
            elif is_symbols(x):
                check_symbol_range(x, self.n, lengths)
            else:
                check_finite(x, lengths)
        if self.embedding is not None:
            if lengths is not None:  # padding may hold any number
                real = real_steps(T, lengths, x.device)
                x = x.where(real if encoder is None else real.unsqueeze(-1), 0)
            x = self.embedding(x.long())
        if self.input_dropout and x.is_floating_point():
            x = dropout(x, self.input_dropout, self.training)
        return x, lengths

    def _check_state(self, s0: Any, B: int) -> None:
        if isinstance(self.rnn, CellLayers):
            sizes = [math.prod(size) for size in self.rnn.state_sizes()]
            names = tuple(f"s0.{i}" for i in range(len(sizes)))
        else:
            names = self.rnn.state_parts
            sizes = [self.d] * len(names)
        if len(names) > 1 and not (isinstance(s0, tuple) and len(s0) == len(names)):
            found = f"{len(s0)} of them" if isinstance(s0, tuple) else type(s0).__name__
            raise TypeError(f"s0: expected {len(names)} parts ({', '.join(names)}), found {found}")
        for (name, part), size in zip(named("s0", s0).items(), sizes, strict=True):
            check_shape(name, part, ("layers", "B", "d"), (self.layers, B, size))

    def _states(self, x: Tensor, lengths: Tensor | None, s0: State | None, starts: Tensor | None) -> tuple[Tensor, Any]:
        """What the readout reads, and the final states."""
        pieces = {} if starts is None else {"starts": starts}
        states, final = self.rnn(x, s0, lengths, **pieces)
        if self.task in OF_ROWS:
            if isinstance(self.rnn, CellLayers):
                last = self.rnn.last_outputs(states, lengths)
            else:
                last = parts(final)[0][-self.directions :].transpose(0, 1).flatten(1)
            states = READERS[self.read](states, last, lengths, self.query)
        return dropout(states, self.readout_dropout, self.training), final

    def _reads_plainly(self) -> bool:
        """Whether the compiled readout is the model's, and nobody else has to see the logits."""
        readout = self.readout
        return (
            type(readout) is nn.Linear
            and nn.Linear.forward is _FORWARD[1]
            and not _watched(readout)
            and not _has_any_global_hook()
            and unwatched()
            and not torch._C._is_any_autocast_enabled()
            and ops.engine_for(readout.weight) is ops.native
        )

    def _is_at_once(self, *kinds: type[nn.Module]) -> bool:
        """Whether `rnn`, of one of these kinds, and `readout` are one call of the engine: nobody else has to see what passes
        between them."""
        rnn, readout = self.rnn, self.readout
        return (
            self.task in ("tag", "lm")
            and not (self.readout_dropout and self.training)
            and type(rnn) in kinds  # a parametrized one is of another type
            and type(readout) is nn.Linear
            and rnn.num_layers == 1
            and rnn.batch_first
            and rnn.bias
            and not rnn.bidirectional
            and readout._parameters.get("bias") is not None
            and (type(rnn).forward, nn.Linear.forward) == _FORWARD
            and not _watched(rnn)
            and not _watched(readout)
            and not _has_any_global_hook()
            and unwatched()
            and not torch._C._is_any_autocast_enabled()
        )

    def _elman_loss(
        self, x: Tensor, y: Tensor, lengths: Tensor | None, reduction: str, s0: Any, return_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The loss and the final states in one call of the engine, which keeps the states in its cache."""
        rnn: Any = self.rnn
        U, W, b_ih, b_hh = rnn.all_weights[0]
        V, c = self.readout.weight, self.readout.bias
        s0 = None if s0 is None else s0[0]
        value, final = step.elman_loss(
            x.transpose(0, 1), y.T, U, W, b_ih + b_hh, V, c, s0, lengths, rnn.nonlinearity, reduction, return_state
        )
        return value, None if final is None else final.unsqueeze(0)

    def _program_loss(
        self,
        x: Tensor,
        y: Tensor,
        lengths: Tensor | None,
        reduction: str,
        s0: Any,
        starts: Tensor | None,
        return_state: bool,
    ) -> tuple[Tensor, Any]:
        """The same of a gated layer."""
        rnn: Any = self.rnn
        program, weights = rnn.recurrences()[0]
        initial = (None,) * len(rnn.state_parts) if s0 is None else tuple(part[0] for part in parts(s0))
        marks = None if starts is None else starts.T
        value, final = program_loss(
            Recurrence(program, weights),
            Batch((x.transpose(0, 1),), initial, lengths, marks),
            self.readout.weight,
            self.readout.bias,
            y.T,
            reduction,
            return_state,
        )
        return value, rnn._whole(final) if return_state else None


_FORWARD = RNN.forward, nn.Linear.forward
"""What the fused way stands for, as long as nobody puts another in its place."""


def _open_forget_gates(rnn: nn.Module) -> None:
    if isinstance(rnn, LSTM):
        rnn.open_forget_gates()


def _watched(module: nn.Module) -> bool:
    """Whether a module computes something else than its class says, or a hook sees what goes into or comes out of it, or their
    gradients, or computes its weights."""
    return bool(
        "forward" in module.__dict__
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _draw(rnn: nn.RNNBase, generator: torch.Generator | None) -> None:
    """Parameters as torch.nn.RNN draws them."""
    bound = 1 / math.sqrt(rnn.hidden_size)
    for parameter in rnn.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator)
