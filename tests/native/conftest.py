"""The compiled engine's own tests. Scratch memory and new outputs are full of NaN throughout: what is read without having been
written shows, and so does what is not written, whatever was in the memory before."""

from __future__ import annotations

import os

import pytest
import torch

from throughtime.engines import native

if native.load_error is not None and os.environ.get("THROUGHTIME_REQUIRE_NATIVE") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _poisoned_memory():
    native._native.poison(True)
    torch.use_deterministic_algorithms(True)  # with which PyTorch fills what is empty
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(False)
    native._native.poison(False)


@pytest.fixture(params=native.supported() if native.load_error is None else [])
def isa(request):
    """Each instruction set that this machine supports, in turn."""
    native._native.set_isa(request.param)
    yield request.param
    native._native.set_isa("")
