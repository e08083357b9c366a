"""Constraints on weights, as torch parametrizations: what they allow holds after every step of any optimiser.

    layer = tt.nn.Recurrent(tt.cells.Leaky(2, 100))
    tt.nn.constraints.dale(layer.cell.W, "weight", excitatory=80)

They fit every module with a matrix, PyTorch's and the library's layers as well as cells. A parametrization is computed once a
call, whatever the number of steps. `torch.nn.utils.parametrize.remove_parametrizations` takes one off again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal

__all__ = ["antisymmetric", "dale", "masked", "orthogonal", "spectral_radius_", "weight_drop"]


def masked(module: nn.Module, name: str, mask: Tensor) -> nn.Module:
    """Hold entries of a weight at zero: W = P ⊙ mask, for connections that are not there.

    Args:
        mask: of the weight's shape: what is not zero (or True) stays. It is a buffer, and moves and saves with the module.

    Returns: the module. Raises: ValueError: another shape.
    """
    weight = getattr(module, name)
    if mask.shape != weight.shape:
        raise ValueError(f"mask: expected the shape {list(weight.shape)} of {name}, found {list(mask.shape)}")
    parametrize.register_parametrization(module, name, _Masked(mask.detach().to(weight)))
    return module


class _Masked(nn.Module):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, P: Tensor) -> Tensor:
        return P * self.mask

    def right_inverse(self, W: Tensor) -> Tensor:
        return W * self.mask


def dale(module: nn.Module, name: str, excitatory: int | Tensor) -> nn.Module:
    """Dale's law: a unit excites all that it reaches, or inhibits all. A column of W, what goes out from a unit, has one sign:
    W = relu(P) D, with D = diag(± 1). It starts at the magnitudes that the weight has.

    Args:
        excitatory: how many units, the first ones, excite; or a bool tensor [columns] that says which.

    Source: Song, Yang & Wang (2016), "Training excitatory-inhibitory recurrent neural networks for cognitive tasks".

    Returns: the module. Raises: ValueError: more units than columns, or another shape.
    """
    weight = getattr(module, name)
    columns = weight.shape[1]
    if isinstance(excitatory, int):
        if not 0 <= excitatory <= columns:
            raise ValueError(f"excitatory: expected 0 to {columns} units, found {excitatory}")
        excitatory = torch.arange(columns) < excitatory
    if excitatory.shape != (columns,):
        raise ValueError(f"excitatory: expected the shape [{columns}], found {list(excitatory.shape)}")
    signs = torch.where(excitatory.to(weight.device), 1.0, -1.0).to(weight.dtype)
    parametrize.register_parametrization(module, name, _Dale(signs))
    return module


class _Dale(nn.Module):
    signs: Tensor

    def __init__(self, signs: Tensor) -> None:
        super().__init__()
        self.register_buffer("signs", signs)

    def forward(self, P: Tensor) -> Tensor:
        return torch.relu(P) * self.signs

    def right_inverse(self, W: Tensor) -> Tensor:
        return W.abs()


def antisymmetric(module: nn.Module, name: str, gamma: float = 0.01) -> nn.Module:
    """A square weight W = P − Pᵀ − γ I, P above the diagonal: its eigenvalues have the real part −γ, so that a leaky unit's
    states neither grow nor die out. It starts at what lies above the diagonal of the weight.

    Source: Chang et al. (2019), "AntisymmetricRNN: a dynamical system view on recurrent neural networks".

    Returns: the module. Raises: ValueError: a weight that is not square.
    """
    shape = getattr(module, name).shape
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{name}: expected a square matrix, found {list(shape)}")
    parametrize.register_parametrization(module, name, _Antisymmetric(gamma), unsafe=True)
    return module


class _Antisymmetric(nn.Module):
    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, P: Tensor) -> Tensor:
        above = P.triu(1)
        return above - above.T - self.gamma * torch.eye(len(P), dtype=P.dtype, device=P.device)

    def right_inverse(self, W: Tensor) -> Tensor:
        return W.triu(1)


def weight_drop(module: nn.Module, name: str, p: float = 0.5) -> nn.Module:
    """Drop entries of a weight with probability p while training, and scale the others by 1 / (1 − p): one mask for all steps
    of a call, so that a state is never dropped where it is carried.

    Source: Merity, Keskar & Socher (2018), "Regularizing and optimizing LSTM language models".

    Returns: the module. Raises: ValueError: no probability below 1.
    """
    if not 0 <= p < 1:
        raise ValueError(f"p: expected a probability below 1, found {p!r}")
    parametrize.register_parametrization(module, name, nn.Dropout(p), unsafe=True)
    return module


@torch.no_grad()
def spectral_radius_(weight: Tensor, radius: float) -> Tensor:
    """Scale a square weight, in place, so that its largest eigenvalue has the absolute value `radius`; a start, no constraint.

    Source: Jaeger (2001), "The echo state approach to analysing and training recurrent neural networks".

    Returns: the weight. Raises: ValueError: it is not square, or has no eigenvalue but zero.
    """
    if weight.dim() != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"weight: expected a square matrix, found {list(weight.shape)}")
    largest = torch.linalg.eigvals(weight.double()).abs().max().item()
    if largest == 0:
        raise ValueError("weight: expected an eigenvalue other than zero, found none")
    return weight.mul_(radius / largest)
