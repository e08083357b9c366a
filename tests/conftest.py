"""Fixtures that all tests share."""

from __future__ import annotations

import os

import pytest
import torch

import throughtime as tt
from throughtime.engines import native

torch.set_num_threads(1)  # the test runner starts a process for each core


@pytest.fixture(params=["reference", "native"])
def engine(request: pytest.FixtureRequest):
    """Run a test on every engine."""
    if request.param == "native" and native.load_error is not None:
        if os.environ.get("THROUGHTIME_REQUIRE_NATIVE") == "1":
            pytest.fail(f"the native engine is required: {native.load_error}")
        pytest.skip(f"no native engine: {native.load_error}")
    with tt.engine(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
