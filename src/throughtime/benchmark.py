"""The speed of a learning step, beside PyTorch's and JAX's, measured in one process.

Subjects, each a loss and all its gradients, from the same sequences:

    step     `ElmanNetwork.loss` and backward                          against torch.nn.RNN + Linear + cross_entropy
    layer    `throughtime.nn.RNN`, `LSTM` or `GRU` + Linear + cross_entropy and backward    against torch.nn's of the name

The contenders take turns: in each round, each runs for a slice of time, with a pause in which idle threads go to sleep. Of all
runs, the minimum (what the machine allows) and the median are kept. PyTorch runs with one thread and with all; the better
minimum counts. A machine's speed drifts, so ratios within one run are what to quote.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt

Contender = Callable[[], object]


GATES = {"elman": 1, "lstm": 4, "gru": 3}
"""How many pre-activations each cell has for a state."""


@dataclass(frozen=True)
class Size:
    """One row of the table: T steps, B instances, n inputs, d states, k classes."""

    T: int
    B: int
    n: int
    d: int
    k: int
    symbols: bool = False
    ragged: bool = False
    forward_only: bool = False
    cell: str = "elman"

    def __str__(self) -> str:
        flags = [name for name in ("symbols", "ragged", "forward_only") if getattr(self, name)]
        return f"{self.T}, {self.B}, {self.n}, {self.d}, {self.k}" + "".join(
            f" {flag.replace('_', ' ')}" for flag in flags
        )

    @property
    def flops(self) -> int:
        """Multiplications and additions of a run over whole sequences: 2 per weight and step, thrice with the gradients."""
        products = GATES[self.cell] * (self.n * self.d + self.d * self.d) + self.k * self.d
        return 2 * self.T * self.B * products * (1 if self.forward_only else 3)


SIZES = (
    Size(100, 1, 16, 32, 10),
    Size(1000, 1, 64, 128, 20),
    Size(100, 32, 32, 64, 10),
    Size(100, 32, 64, 128, 20),
    Size(784, 128, 1, 128, 10),
    Size(100, 64, 128, 256, 50),
    Size(200, 64, 512, 512, 50),
    Size(100, 64, 1024, 1024, 50),
    Size(128, 64, 65, 256, 65, symbols=True),
    Size(100, 32, 64, 128, 20, forward_only=True),
)


@dataclass
class Timing:
    """Seconds of every run of one contender."""

    seconds: list[float] = field(default_factory=list)

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Result:
    """One size and subject: the timing of every contender by name; "throughtime" is one of them."""

    size: Size
    subject: str
    timings: dict[str, Timing]

    @property
    def ratio(self) -> float:
        """How many times longer the better PyTorch takes (by minimum)."""
        rivals = [t.minimum for name, t in self.timings.items() if name.startswith("torch")]
        return min(rivals) / self.timings["throughtime"].minimum

    @property
    def gflops(self) -> float:
        """10⁹ multiplications and additions a second."""
        return self.size.flops / self.timings["throughtime"].minimum / 1e9


def matrix_product_gflops(threads: int, size: int = 1024) -> float:
    """What a float32 matrix product of PyTorch's reaches here, in 10⁹ multiplications and additions a second."""
    a, b, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    product = _with_threads(threads, lambda: torch.mm(a, b, out=out))
    return 2 * size**3 / race({"product": product}, rounds=3)["product"].minimum / 1e9


def race(contenders: dict[str, Contender], rounds: int, slice_s: float = 0.15) -> dict[str, Timing]:
    """Run the contenders in turn, `rounds` times, each for `slice_s` seconds or three runs."""
    timings = {name: Timing() for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            time.sleep(0.02)  # threads of the contender before may still be spinning
            run()
            until, runs = time.perf_counter() + slice_s, 0
            while runs < 3 or time.perf_counter() < until:
                began = time.perf_counter()
                run()
                timings[name].seconds.append(time.perf_counter() - began)
                runs += 1
    return timings


def compare(sizes: tuple[Size, ...], rounds: int, threads: int) -> Iterator[Result]:
    """Time every subject at every size."""
    before = torch.get_num_threads()
    try:
        for size in sizes:
            for subject in ("step", "layer") if size.cell == "elman" else ("layer",):
                contenders = _contenders(size, subject, threads)
                yield Result(size, subject, race(contenders, rounds))
    finally:
        torch.set_num_threads(before)


def _with_threads(threads: int, run: Contender) -> Contender:
    def limited() -> object:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        return run()

    return limited


def _contenders(size: Size, subject: str, threads: int) -> dict[str, Contender]:
    torch.manual_seed(0)
    x = torch.randint(size.n, (size.B, size.T)) if size.symbols else torch.randn(size.B, size.T, size.n)
    dense = F.one_hot(x, size.n).float() if size.symbols else x
    y = torch.randint(size.k, (size.B, size.T))
    lengths = torch.randint(1, size.T + 1, (size.B,)) if size.ragged else None
    layer = tt.nn.LAYERS[size.cell]
    theirs = _layer_run(getattr(nn, layer.__name__), size, dense, y, lengths)
    ours = _step_run(size, x, y, lengths) if subject == "step" else _layer_run(layer, size, x, y, lengths)
    contenders = {"throughtime": _with_threads(threads, ours)}
    for count in sorted({1, threads}):
        contenders[f"torch ({count} thread{'s' if count > 1 else ''})"] = _with_threads(count, theirs)
    if subject == "step" and lengths is None and find_spec("jax") is not None:
        contenders["jax"] = _jax_run(size, dense, y)
    return contenders


def _step_run(size: Size, x: Tensor, y: Tensor, lengths: Tensor | None) -> Contender:
    net = tt.ElmanNetwork(size.n, size.d, size.k)

    def forward() -> object:
        with torch.no_grad():
            return net(x, lengths)

    def step() -> None:
        net.zero_grad()
        net.loss(x, y, lengths, reduction="token").backward()

    return forward if size.forward_only else step


def _layer_run(make: Any, size: Size, x: Tensor, y: Tensor, lengths: Tensor | None) -> Contender:
    """Recurrent layer + Linear + cross_entropy; ragged sequences arrive packed, labels in the same order."""
    rnn, readout = make(size.n, size.d, batch_first=True), nn.Linear(size.d, size.k)
    model = nn.ModuleList([rnn, readout])
    inputs, labels = x, y.flatten()
    if lengths is not None:
        inputs = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        labels = pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False).data

    def logits() -> Tensor:
        out, _ = rnn(inputs)
        return readout(out.flatten(0, 1) if lengths is None else out.data)

    def forward() -> object:
        with torch.no_grad():
            return logits()

    def step() -> None:
        model.zero_grad()
        F.cross_entropy(logits(), labels).backward()

    return forward if size.forward_only else step


def _jax_run(size: Size, x: Tensor, y: Tensor) -> Contender:
    """The same network as a jitted lax.scan over the steps, with value_and_grad."""
    import jax  # type: ignore[import-not-found]
    import jax.numpy as jnp  # type: ignore[import-not-found]

    def draw(*shape: int) -> Any:
        return jnp.asarray(((torch.rand(*shape) * 2 - 1) * size.d**-0.5).numpy())

    weights = (draw(size.d, size.n), draw(size.d, size.d), draw(size.d), draw(size.k, size.d), draw(size.k))
    xs, ys = jnp.asarray(x.transpose(0, 1).numpy()), jnp.asarray(y.T.numpy())

    def logits(weights: Any) -> Any:
        U, W, b, V, c = weights

        def advance(s: Any, x_t: Any) -> Any:
            s = jnp.tanh(x_t @ U.T + s @ W.T + b)
            return s, s

        return jax.lax.scan(advance, jnp.zeros((size.B, size.d)), xs)[1] @ V.T + c

    def loss(weights: Any) -> Any:
        log_y = jax.nn.log_softmax(logits(weights))
        return -jnp.take_along_axis(log_y, ys[..., None], -1).mean()

    run = jax.jit(logits if size.forward_only else jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(run(weights))
