"""An epoch of part-of-speech tagging beside the usual loop on torch.nn.RNN.

The training part of a treebank is repeated to 12,500 sentences. Words become vectors of 64 numbers, 128 states read them, and
Adam with clipping learns from batches of 32 sentences of like lengths. Both sides see the same batches in the same order, from
the same initial parameters; what differs is the code. `tt.SequenceModel` goes through `tt.fit`. The usual loop is torch.nn's
Embedding, RNN and Linear, with sentences either padded (and padding masked in the loss) or packed, whichever is quicker, on one
thread or all of them, whichever is quicker. They take turns, epoch by epoch, each from the beginning.

    python benchmarks/treebank.py TRAIN.conllu --test TEST.conllu [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

import throughtime as tt
from throughtime.data.batches import collate, schedule
from throughtime.data.sequences import Sequences

EMBEDDING, STATES, BATCH, CLIP, LR = 64, 128, 32, 1.0, 1e-3


class UsualTagger(nn.Module):
    """Embedding, RNN and Linear of torch.nn, with the parameters' names of `tt.SequenceModel`."""

    def __init__(self, n: int, k: int, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embedding = nn.Embedding(n, EMBEDDING)
        self.rnn = nn.RNN(EMBEDDING, STATES, batch_first=True)
        self.readout = nn.Linear(STATES, k)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        vectors = self.embedding(x)
        if not self.packed:
            return self.readout(self.rnn(vectors)[0])
        states, _ = self.rnn(pack_padded_sequence(vectors, lengths, batch_first=True))
        return self.readout(pad_packed_sequence(states, batch_first=True)[0])


def usual_epoch(model: UsualTagger, x: list[Tensor], y: list[Tensor]) -> None:
    """One pass over sentences x with labels y, in the batches that `tt.fit` makes of them."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    model.train()
    for window in schedule([len(sentence) for sentence in x], BATCH, seed=0, epoch=1):
        rows = window.rows.tolist()
        symbols = pad_sequence([x[i] for i in rows], batch_first=True)
        labels = pad_sequence([y[i] for i in rows], batch_first=True, padding_value=-100)
        optimizer.zero_grad()
        z = model(symbols, torch.from_numpy(window.lengths))
        loss = F.cross_entropy(z.flatten(0, 1), labels.flatten(), reduction="sum") / len(rows)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()


@dataclass
class Contender:
    """One way to train, with what was measured of it."""

    name: str
    model: type[UsualTagger] | None
    packed: bool
    threads: int
    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def compete(train: Sequences, test: Sequences, n: int, k: int, contenders: list[Contender], rounds: int) -> None:
    """Fill in what each contender needs for an epoch, and how well it tags `test` afterwards; a line for each."""
    x, y = ([torch.from_numpy(part) for part in parts] for parts in (train.inputs, train.targets))
    for _ in range(rounds):
        for contender in contenders:
            torch.set_num_threads(contender.threads)
            torch.manual_seed(0)
            model: nn.Module = tt.SequenceModel(n, STATES, k, embedding=EMBEDDING)
            if contender.model is not None:
                start = model.state_dict()
                model = contender.model(n, k, contender.packed)
                model.load_state_dict(start)
            time.sleep(0.1)  # threads of the contender before may still be spinning
            began = time.perf_counter()
            if isinstance(model, UsualTagger):
                usual_epoch(model, x, y)
            else:
                tt.fit(model, train, epochs=1, batch_size=BATCH, lr=LR, clip_norm=CLIP, progress=False)
            contender.seconds.append(time.perf_counter() - began)
            contender.accuracy.append(tt.evaluate(model, test).accuracy or 0.0)
            print(
                f"{contender.name:<32} {contender.seconds[-1]:6.2f} s   accuracy {contender.accuracy[-1]:.4f}",
                flush=True,
            )


def loader_seconds(train: Sequences) -> float:
    """How long it takes to plan the batches of an epoch and make their tensors."""
    began = time.perf_counter()
    for window in schedule(train.lengths, BATCH, seed=0, epoch=1):
        collate(train, window)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, metavar="TRAIN.conllu")
    parser.add_argument("--test", type=Path, required=True, metavar="TEST.conllu")
    parser.add_argument("--column", default="upos", help="the labels (default: upos)")
    parser.add_argument("--sentences", type=int, default=12_500, help="repeat the training part to so many")
    parser.add_argument("--rounds", type=int, default=5, help="how often the contenders take turns")
    options = parser.parse_args()

    source = tt.data.load(options.train, test=options.test, column=options.column)
    assert source.test is not None
    train = source.train.take(np.arange(options.sentences) % len(source.train))
    most = torch.get_num_threads()
    print(
        f"{len(train):,} sentences, {train.lengths.sum():,} words of {source.n:,} kinds, {source.k} labels; "
        f"{most} threads"
    )
    ours = Contender("throughtime", None, False, most)
    usual = [
        Contender(f"torch, {way}, {threads} thread{'s' * (threads > 1)}", UsualTagger, way == "packed", threads)
        for way in ("padded", "packed")
        for threads in sorted({1, most})
    ]
    compete(train, source.test, source.n, source.k, [ours, *usual], options.rounds)
    torch.set_num_threads(most)
    loader = min(loader_seconds(train) for _ in range(options.rounds))

    print(f"\n{'seconds for an epoch':<32} {'minimum':>8} {'median':>8} {'accuracy':>9}")
    for contender in (ours, *usual):
        least, middle = min(contender.seconds), statistics.median(contender.seconds)
        print(f"{contender.name:<32} {least:8.2f} {middle:8.2f} {statistics.median(contender.accuracy):9.4f}")
    best = min(usual, key=lambda contender: min(contender.seconds))
    ratios = [
        f"{of(best.seconds) / of(ours.seconds):.2f} by {name}"
        for of, name in ((min, "minimum"), (statistics.median, "median"))
    ]
    print(f"{best.name} ÷ throughtime: {', '.join(ratios)}")
    print(f"the loader's share of an epoch: {loader / min(ours.seconds):.1%} ({loader:.2f} s)")


if __name__ == "__main__":
    main()
