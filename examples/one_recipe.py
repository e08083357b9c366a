"""One recipe, three models: what trains logistic regression trains the recurrent network.

    initialise θ, then until satisfied:   forward   L = loss(θ)   gradients ∇L   update θ ← θ − η ∇θ

The task: a sequence of +1 and −1 arrives, one number at each step; after the last one, was there an odd number of −1s so far?
Parity is not linearly separable, so logistic regression (a) on the whole sequence cannot learn it; one hidden layer (b), which
is the recurrent network with T = 1, can; the recurrent network (c) sees one number at a time, answers at every step and has
the fewest inputs. All three are trained by the same `tt.fit`, with plain gradient descent.

    python examples/one_recipe.py
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import throughtime as tt

T = 4


class LogisticRegression(nn.Module):
    """ŷ = softmax(A x + a): no state, and every step of x [B, T, n] for itself."""

    def __init__(self, n: int, k: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.zeros(k, n))
        self.a = nn.Parameter(torch.zeros(k))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return x @ self.A.T + self.a

    def loss(self, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        return F.cross_entropy(self(x).flatten(0, 1), y.flatten(), reduction="sum") / len(x)


def parity() -> tuple[Tensor, Tensor]:
    """All sequences x [2^T, T] of ±1, and y [2^T, T]: 1 where the number of −1s up to here is odd."""
    x = torch.tensor(list(itertools.product([1.0, -1.0], repeat=T)))
    return x, (x.cumprod(1) < 0).long()


def main() -> None:
    x, y = parity()
    whole, answer = x.unsqueeze(1), y[:, -1:]  # the sequence as one input vector: T = 1
    models = [
        ("(a) logistic regression", LogisticRegression, (T, 2), (whole, answer), 1.0),
        ("(b) one hidden layer: Elman, T = 1", tt.ElmanNetwork, (T, 16, 2), (whole, answer), 1.0),
        (f"(c) recurrent network: Elman, T = {T}", tt.ElmanNetwork, (1, 16, 2), (x.unsqueeze(2), y), 0.3),
    ]
    print(f"{'model':<36} {'update rule':<16} {'parameters':>10} {'loss before':>12} {'after':>8} {'accuracy':>9}")
    for name, make, sizes, data, rate in models:
        torch.manual_seed(0)
        model = make(*sizes)
        before = tt.evaluate(model, data)
        tt.fit(model, data, optimizer="gd", lr=rate, epochs=500, progress=False)
        after = tt.evaluate(model, data)
        count = sum(p.numel() for p in model.parameters())
        print(
            f"{name:<36} θ ← θ − {rate} ∇θ   {count:>10} {before.loss:>12.4f} {after.loss:>8.4f} {after.accuracy:>9.2f}"
        )


if __name__ == "__main__":
    main()
