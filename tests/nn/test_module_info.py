"""PyTorch's own samples for its recurrent layers (ModuleInfo, of the installed version), with ours in their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from problems import assert_close

import throughtime as tt

modules = pytest.importorskip("torch.testing._internal.common_modules")

NAMES = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
INFOS = {info.module_cls.__name__: info for info in modules.module_db if info.module_cls.__name__ in NAMES}


def flat(result: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(result)
    return [t for t in leaves if isinstance(t, torch.Tensor) and t.is_floating_point()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_samples(name: str, training: bool, engine: str) -> None:
    info = INFOS[name]
    options: dict[str, Any] = {"device": "cpu", "dtype": torch.float64, "requires_grad": True, "training": training}
    if name in ("RNN", "LSTM", "GRU"):
        options["with_packed_sequence"] = True
    samples = info.module_inputs_func(info, **options)
    assert samples
    for sample in samples:
        made, called = sample.constructor_input, sample.forward_input
        theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
        ours = getattr(tt.nn, name)(*made.args, **made.kwargs).double().train(training)
        ours.load_state_dict(theirs.state_dict())
        found, expected = (flat(layer(*called.args, **called.kwargs)) for layer in (ours, theirs))
        upstream = [torch.randn_like(t) for t in expected]
        for i, (mine, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(mine, other, 1e-10, f"{sample.desc} result {i}")
        grads = [
            torch.autograd.grad(result, list(layer.parameters()), upstream)
            for result, layer in ((found, ours), (expected, theirs))
        ]
        for i, (mine, other) in enumerate(zip(*grads, strict=True)):
            assert_close(mine, other, 1e-10, f"{sample.desc} gradient {i}")


@pytest.mark.parametrize("name", [name for name in NAMES if INFOS[name].module_error_inputs_func])
def test_samples_of_errors(name: str) -> None:
    """The same errors, with messages that begin as PyTorch's."""
    info = INFOS[name]
    samples = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=False
    )
    assert samples
    for sample in samples:
        made = sample.module_error_input.constructor_input
        if sample.error_on is modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(sample.error_type, match=sample.error_regex):
                getattr(tt.nn, name)(*made.args, **made.kwargs)
            continue
        layer = getattr(tt.nn, name)(*made.args, **made.kwargs)
        called = sample.module_error_input.forward_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            layer(*called.args, **called.kwargs)
