"""A layer of the library and torch's with the same parameters, side by side."""

from __future__ import annotations

from typing import Any

import torch
from problems import assert_close
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import throughtime as tt


def pair(*args: Any, kind: str = "RNN", **kwargs: Any) -> tuple[Any, Any]:
    """Our layer and torch's of a kind, "RNN", "LSTM" or "GRU", with the same parameters."""
    theirs = getattr(torch.nn, kind)(*args, **kwargs)
    ours = getattr(tt.nn, kind)(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def tensors(result: tuple[Any, Any]) -> dict[str, Tensor]:
    """Outputs by name."""
    output, final = result
    parts = final if isinstance(final, tuple) else (final,)
    return {
        "output": output.data if isinstance(output, PackedSequence) else output,
        **dict(zip(("h_n", "c_n"), parts, strict=False)),
    }


def initial(layer: Any, B: int) -> Any:
    """A random initial state of a layer, for gradients to be asked for; without B where that is 0."""
    layers = layer.num_layers * (2 if layer.bidirectional else 1)
    widths = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 1 + (layer.mode == "LSTM")]
    shapes = [(layers, B, width) if B else (layers, width) for width in widths]
    parts = tuple(torch.randn(s, dtype=layer.weight_ih_l0.dtype, requires_grad=True) for s in shapes)
    return parts if layer.mode == "LSTM" else parts[0]


def compare(ours: Any, theirs: Any, input: Any, h_0: Any, tolerance: float, what: str = "") -> None:
    """Outputs and, for random upstream gradients, the gradient of every parameter, of the input and of h_0, by name."""
    data = input.data if isinstance(input, PackedSequence) else input
    found, expected = tensors(ours(input, h_0)), tensors(theirs(input, h_0))
    upstream = [torch.randn_like(t) for t in expected.values()]
    parts = h_0 if isinstance(h_0, tuple) else (h_0,)
    leaves = [t for t in (data, *parts) if t is not None and t.requires_grad]
    gradients = []
    for model, results in ((ours, found), (theirs, expected)):
        grads = torch.autograd.grad(list(results.values()), [*model.parameters(), *leaves], upstream)
        names = [*dict(model.named_parameters()), "input", "h_0", "c_0"]
        gradients.append(dict(zip(names, grads, strict=False)))
    for name in expected:
        assert_close(found[name], expected[name], tolerance, f"{what} {name}")
    assert len(gradients[0]) == len(list(theirs.parameters())) + len(leaves)
    for name in gradients[1]:
        assert_close(gradients[0][name], gradients[1][name], tolerance, f"{what} gradient of {name}")


def draw(form: str, T: int, B: int, n: int, batch_first: bool, dtype: torch.dtype) -> tuple[Any, int]:
    """An input of this form, and its B."""
    if form == "unbatched":
        return torch.randn(T, n, dtype=dtype, requires_grad=True), 0
    x = torch.randn(B, T, n, dtype=dtype, requires_grad=True)
    if form == "batched":
        return (x if batch_first else x.detach().transpose(0, 1).requires_grad_()), B
    lengths = torch.randint(1, T + 1, (B,))
    lengths[B // 2] = T
    if form == "packed sorted":
        lengths = lengths.sort(descending=True).values
    packed = pack_padded_sequence(x.detach(), lengths, batch_first=True, enforce_sorted=form == "packed sorted")
    packed.data.requires_grad_()
    return packed, B
