"""The anatomy of the gradient: every path of backpropagation through time, as numbers, pictures and a page.

`tt.anatomy(net, x, y)` takes a gradient apart; the module itself is the function, so that `tt.anatomy` is both, whichever way
it was imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from throughtime.anatomy.gradient import Anatomy, anatomy
from throughtime.anatomy.watch import Watch

__all__ = ["Anatomy", "Watch", "anatomy"]


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Anatomy:
        return anatomy(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
