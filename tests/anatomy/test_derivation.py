"""The derivation says what the arrays hold."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.anatomy import anatomy


def elman(T=9):
    net = tt.ElmanNetwork(4, 5, 3, dtype=torch.float64)
    return anatomy(net, torch.randint(4, (2, T)), torch.randint(3, (2, T)))


def test_its_paths_are_those_of_the_arrays():
    a = elman()
    found = a.derivation(4, 1)
    assert [p.k for p in found.paths] == [4, 3, 2, 1]
    for p in found.paths:
        assert p.norm == pytest.approx(float(a.path(4, p.k, 1).norm()))
        assert p.norm == pytest.approx(p.delta_norm * p.input_norm)
        assert p.share == pytest.approx(float(a.shares[1, 3, p.k - 1]))
    assert found.loss == pytest.approx(float(a.losses[1, 3]))
    assert found.share == pytest.approx(float(a.shares[1, 3].nansum()))


def test_the_text_writes_each_path_out():
    text = elman().derivation(4).text
    assert "∂L_4/∂W = Σ_k (∂L_4/∂s_4) (∂s_4/∂s_k) (∂⁺s_k/∂W) = Σ_k δ_4,k s_k−1ᵀ    k = 1..4" in text
    assert "σ′4 Vᵀe_4 s_3ᵀ" in text
    assert "σ′2 Wᵀ σ′3 Wᵀ σ′4 Vᵀe_4 s_1ᵀ" in text
    assert len(re.findall(r"Vᵀe_4 s_", text)) == 4


def test_a_long_sum_is_shortened_and_its_rest_counted():
    a = elman(60)
    found = a.derivation(60)
    assert len(found.written) == 12
    assert len(found.rest) == 48
    assert "48 more paths, together" in found.text
    assert found.norm_sum == pytest.approx(float(a.norms[0, 59].sum()))


def test_latex_is_balanced():
    latex = elman(20).derivation(20).latex
    assert latex.startswith("\\begin{aligned}")
    assert latex.count("{") == latex.count("}")
    assert "e-" not in latex
    assert r"\Sigma'_{20} V^{\top} e_{20}\, s_{19}^{\top}" in latex


def test_a_backward_direction_and_a_lower_layer():
    rnn = tt.nn.RNN(3, 4, 2, bidirectional=True, dtype=torch.float64)
    readout = nn.Linear(8, 3, dtype=torch.float64)
    x, y = torch.randn(1, 5, 3, dtype=torch.float64), torch.randint(3, (1, 5))
    top = anatomy(rnn, x, y, direction=1, readout=readout).derivation(2)
    assert [p.k for p in top.paths] == [2, 3, 4, 5]
    assert "σ′3 Wᵀ σ′2 Vᵀe_2 s_4ᵀ" in top.text
    lower = anatomy(rnn, x, y, layer=0, readout=readout).derivation(3)
    assert sorted(p.k for p in lower.paths) == [1, 2, 3, 4, 5]
    assert "through the layers above" in lower.text
