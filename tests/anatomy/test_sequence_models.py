"""The gradient of every task of a SequenceModel, taken apart."""

from __future__ import annotations

import math

import pytest
import torch

from throughtime.anatomy import anatomy
from throughtime.models.sequence_model import SequenceModel

D64 = torch.float64


@pytest.mark.parametrize("reduction", ["sequence", "token"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("task", ["tag", "classify", "forecast"])
def test_the_tasks_of_a_sequence_model(task, bidirectional, reduction):
    if task == "forecast" and bidirectional:
        return
    torch.manual_seed(2)
    net = SequenceModel(
        7, 4, 3, embedding=3, layers=2, bidirectional=bidirectional, task=task, dropout=0.3, dtype=D64
    ).eval()
    x, lengths = torch.randint(7, (3, 6)), torch.tensor([6, 4, 1])
    y = {
        "tag": torch.randint(3, (3, 6)),
        "classify": torch.tensor([2, -100, 0]),
        "forecast": torch.randn(3, 6, 3, dtype=D64),
    }[task]
    if task == "forecast":
        y[0, 2], y[1, 1, 1] = math.nan, math.nan
    value = net.loss(x, y, lengths, reduction)
    for layer in range(2):
        for direction in range(1 + bidirectional):
            end = "_reverse" if direction else ""
            parameters = [
                *(getattr(net.rnn, f"{p}_l{layer}{end}") for p in ("weight_hh", "weight_ih", "bias_ih")),
                net.readout.weight,
                net.readout.bias,
            ]
            expected = torch.autograd.grad(value, parameters, retain_graph=True)
            a = anatomy(net, x, y, lengths, reduction, layer=layer, direction=direction)
            for p, g in zip("WUbVc", expected):
                torch.testing.assert_close(getattr(a, p).total, g, rtol=1e-10, atol=1e-12)
            assert float(a.shares.nansum()) == pytest.approx(1, abs=1e-10)
