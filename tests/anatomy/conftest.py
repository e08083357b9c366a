"""The anatomy is the same on every engine; where the compiled one is not built, the reference serves."""

import pytest

import throughtime as tt
from throughtime.engines import native


@pytest.fixture(autouse=True)
def _an_engine_that_is_there():
    with tt.engine("auto" if native.load_error is None else "reference"):
        yield
