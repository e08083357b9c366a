"""What `throughtime train` decides where the options leave it open, by the data; and the model that comes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.cells import own_cell
from throughtime.cli.errors import Refused
from throughtime.cli.options import TrainOptions, is_own_cell

if TYPE_CHECKING:
    from throughtime.data import Dataset

LONG, WINDOW = 1000, 200
"""Sequences of more steps than LONG are walked in windows of WINDOW steps."""
SHORTEST_WINDOW = 20
"""The windows of a few short series have at least so many steps."""
REMEMBERED = 50
"""Where half the sequences have so many steps, W starts orthogonal: what enters it then fades slowly."""
EMBEDDING = 128
"""Size of a word's vector."""
DROPOUT = 0.3
"""Of what the first layer and the readout read, of words and of sequences with one label each."""
LR, LR_OF_WORDS = 3e-3, 6e-3
"""Of adam and adamw, whose own default of 0.001 is too low for ten epochs and a rate that falls to 0; more of labelled words,
which dropout slows down."""
LARGEST_BATCH, FEWEST_BATCHES = 32, 10
"""32 sequences an update, and fewer where each has one label and an epoch would have under ten updates."""
EPOCHS, UPDATES, UPDATES_BY_ROW, MOST_EPOCHS = 10, 500, 1000, 200
"""Ten passes, and more (at most 200) of data so small that they would make under 500 updates, or under a thousand where a
sequence has but one label to learn from."""


def check_values(options: TrainOptions) -> None:
    """Check what can be told of the options before any data are read.

    Raises: Refused: names the option.
    """
    for name in ("states", "embedding", "layers", "epochs", "batch_size", "truncate", "patience", "horizon", "season"):
        value = getattr(options, name)
        if isinstance(value, int) and value < 1:
            raise Refused(f"--{name.replace('_', '-')}: expected at least 1, found {value}")
    for name in ("dropout", "input_dropout", "readout_dropout"):
        value = getattr(options, name)
        if isinstance(value, float) and not 0 <= value < 1:
            raise Refused(f"--{name.replace('_', '-')}: expected a share from 0 to below 1, found {value:g}")
    for name in ("lr", "clip_norm"):
        value = getattr(options, name)
        if isinstance(value, float) and not 0 < value < math.inf:
            raise Refused(f"--{name.replace('_', '-')}: expected a positive number, found {value:g}")
    if is_own_cell(options.cell) and options.initialization == "orthogonal":
        raise Refused(
            "--initialization: expected none with a cell of your own, which draws its weights, found orthogonal"
        )
    if not 0 <= options.seed < 1 << 63:
        raise Refused(f"--seed: expected a whole number from 0 to 2^63 − 1, found {options.seed}")


def decided(options: TrainOptions, dataset: Dataset) -> TrainOptions:
    """The options with everything decided that was left open."""
    import numpy as np

    by_row = dataset.task == "classify"
    bidirectional = by_row if options.bidirectional is None else options.bidirectional
    whole = bidirectional or options.optimizer == "gd" or by_row
    window = "none" if whole or dataset.train.lengths.max() <= LONG else WINDOW
    if dataset.task == "forecast" and window == "none" and len(dataset.train) < FEWEST_BATCHES:
        window = max(SHORTEST_WINDOW, int(dataset.train.lengths.max()) // FEWEST_BATCHES)  # updates within a pass, too
    truncate = window if options.truncate == "auto" else options.truncate
    vocabulary = dataset.encoding.vocabulary
    characters = vocabulary is not None and vocabulary.of_characters
    embedding = options.embedding
    if embedding == "auto" and options.vectors is None:  # else as large as the vectors
        embedding = "none" if vocabulary is None or characters else EMBEDDING
    remembers = characters or np.median(dataset.train.lengths) >= REMEMBERED
    initialization = "orthogonal" if remembers and not is_own_cell(options.cell) else "uniform"
    words = embedding != "none" and dataset.task == "tag"
    dropout = DROPOUT if by_row or words else 0.0
    lr = LR_OF_WORDS if words else LR
    batch_size = options.batch_size
    if batch_size is None and options.optimizer != "gd":
        fewest = FEWEST_BATCHES if by_row else 1
        batch_size = min(LARGEST_BATCH, max(1, len(dataset.train) // fewest))
    return replace(
        options,
        bidirectional=bidirectional,
        truncate=truncate,
        embedding=embedding,
        initialization=initialization if options.initialization == "auto" else options.initialization,
        input_dropout=dropout if options.input_dropout == "auto" else options.input_dropout,
        readout_dropout=dropout if options.readout_dropout == "auto" else options.readout_dropout,
        batch_size=batch_size,
        epochs=_epochs(dataset, batch_size, truncate) if options.epochs == "auto" else options.epochs,
        lr=lr if options.lr is None and options.optimizer in ("adam", "adamw") else options.lr,
    )


def _epochs(dataset: Dataset, batch_size: int | None, truncate: int | str) -> int:
    from throughtime.data.batches import schedule

    window = truncate if isinstance(truncate, int) else None
    lengths = dataset.train.lengths
    updates = len(schedule(lengths, batch_size or len(lengths), truncate=window, shuffle=False))
    wanted = UPDATES_BY_ROW if dataset.task == "classify" else UPDATES
    return max(EPOCHS, min(MOST_EPOCHS, -(-wanted // updates)))


def new_model(options: TrainOptions, dataset: Dataset) -> Any:
    """An Elman network where it serves, else a `SequenceModel`."""
    import torch

    from throughtime.models.model import ElmanNetwork

    torch.manual_seed(options.seed)
    plain = (
        (options.cell, options.embedding, options.layers, bool(options.bidirectional)) == ("elman", "none", 1, False)
        and not (options.dropout or options.input_dropout or options.readout_dropout)
        and dataset.task in ("tag", "lm")
        and len(dataset.encoding.sizes) < 2
    )
    if plain:
        return ElmanNetwork(
            dataset.n,
            options.states,
            dataset.k,
            options.nonlinearity,
            initial_state=options.initial_state,
            initialization=options.initialization,
        )
    if options.initial_state == "learned":
        raise Refused("--initial-state: expected zero for a model other than a single Elman network, found learned")
    if options.embedding != "none" and dataset.encoding.vocabulary is None:
        name, found = ("vectors", options.vectors) if options.vectors else ("embedding", options.embedding)
        raise Refused(f"--{name}: expected none, as {dataset.name} has features, not symbols, found {found}")
    model = _sequence_model(options, dataset)
    if options.initialization == "orthogonal":
        for name, parameter in model.named_parameters():
            if "weight_hh" in name:
                for gate in parameter.split(parameter.shape[1]):
                    torch.nn.init.orthogonal_(gate)
    return model


def _sequence_model(options: TrainOptions, dataset: Dataset) -> Any:
    from throughtime.data.vectors import read_vectors
    from throughtime.models.sequence_model import SequenceModel

    encoding, vectors = dataset.encoding, None
    embedding = options.embedding if isinstance(options.embedding, int) else None
    if options.vectors is not None:
        if options.embedding == "none" or encoding.vocabulary is None:
            raise Refused("--vectors: expected an embedding for them, found --embedding none")
        vectors = read_vectors(Path(options.vectors), encoding.vocabulary, embedding)
        embedding = vectors.size
    model = SequenceModel(
        dataset.n,
        options.states,
        dataset.k,
        embedding=embedding,
        columns=[len(vocabulary) for vocabulary in encoding.further],
        alphabet=0 if encoding.characters is None else len(encoding.characters),
        read=options.read,
        layers=options.layers,
        bidirectional=bool(options.bidirectional),
        dropout=options.dropout,
        input_dropout=float(options.input_dropout),
        readout_dropout=float(options.readout_dropout),
        nonlinearity=options.nonlinearity,
        cell=own_cell(options.cell) or options.cell,
        task=dataset.task,
    )
    if vectors is not None:
        vectors.put_into(model.word_table(), frozen=options.freeze_vectors)
    return model
