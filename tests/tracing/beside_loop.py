"""A cell through `Recurrent`, beside its own loop under autograd: outputs, last states, and every gradient by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.nn.cell_calls import parts_of

T, B = 7, 3


def cells_gradients(layer: nn.Module, x: Tensor, state: Any, upstream: int, **options: Any) -> dict[str, Tensor]:
    """Everything that a layer returns, and the gradients of everything that has some, with upstream gradients of a seed."""
    y, last = layer(x, state, **options)
    results = [y, *parts_of(last)]
    named = (
        dict(layer.named_parameters())
        | {"x": x}
        | {f"state{k}": p for k, p in enumerate(parts_of(state) if state is not None else [])}
    )
    named |= {f"drive{k}": d for k, d in enumerate(options.get("drives", ()))}
    named = {k: t for k, t in named.items() if t.requires_grad}
    generator = torch.Generator().manual_seed(upstream)
    up = [torch.randn(r.shape, dtype=r.dtype, generator=generator) for r in results]
    pairs = [(r, u) for r, u in zip(results, up, strict=True) if r.requires_grad]
    found = torch.autograd.grad([r for r, _ in pairs], list(named.values()), [u for _, u in pairs], allow_unused=True)
    values = {f"result{k}": r.detach() for k, r in enumerate(results)}
    return values | {
        f"∂{k}": torch.zeros_like(t) if g is None else g for (k, t), g in zip(named.items(), found, strict=True)
    }


def check_beside_loop(
    cell: nn.Module, x: Tensor, state: Any = None, tolerance: float = 1e-10, **options: Any
) -> tt.nn.Recurrent:
    """The program's results are the loop's, to rounding; `cell` may be a layer that has it. Returns the layer."""
    layer = cell if isinstance(cell, tt.nn.Recurrent) else tt.nn.Recurrent(cell, engine="program")
    loop = tt.nn.Recurrent(layer.cell, engine="loop")
    found = cells_gradients(layer, x, state, 5, **options)
    expected = cells_gradients(loop, x, state, 5, **options)
    assert layer.engine == "program"
    assert found.keys() == expected.keys()
    for name, e in expected.items():
        scale = max(1.0, e.abs().max().item()) if e.numel() else 1.0
        error = (found[name] - e).abs().max().item() if e.numel() else 0.0
        assert error <= tolerance * scale, f"{type(layer.cell).__name__}: {name} differs by {error}"
    return layer
