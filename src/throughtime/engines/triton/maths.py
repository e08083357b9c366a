"""Device functions that generated kernels call: what Triton's language has no exact function for, and the product.

tanh follows native/kernel/maths.hpp: x + x³ q(x²) for |x| < 3/4, else 1 − 2 / (e^{2|x|} + 1) with the sign of x. expm1 and
log1p are Kahan's: the error of rounding 1 + x is divided out again.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    z = x * x
    q = -0.0076602030090849703453 + z * 0.0017386120459066143541
    q = -0.053893330688126561128 + z * (0.021453994369148498577 + z * q)
    near = x + x * (z * (-0.33333315542107100953 + z * (0.13332702602664556451 + z * q)))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(tl.abs(x) >= 0.75, tl.where(x < 0.0, -far, far), near)  # NaN is near


@triton.jit
def expm1(x):
    u = tl.exp(x)
    safe = tl.where(u == 1.0, 2.0, u)
    mild = (u - 1.0) * x / tl.log(safe)
    return tl.where(u == 1.0, x, tl.where(tl.abs(x) < 1.0, mild, u - 1.0))


@triton.jit
def log1p(x):
    u = 1.0 + x
    d = u - 1.0
    safe = tl.where(d == 0.0, 1.0, d)
    return tl.where(d == 0.0, x, tl.where(tl.abs(x) < 1.0, tl.log(u) * (x / safe), tl.log(u)))


@triton.jit
def sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x))


@triton.jit
def minimum(x, y):
    return tl.where((x != x) | (x < y), x, y)


@triton.jit
def maximum(x, y):
    return tl.where((x != x) | (x > y), x, y)


@triton.jit
def product(v, tile, total, ROUND: tl.constexpr, PRECISION: tl.constexpr):
    """total + v · tile, for rows v [rows, K] and a tile [K, N]; v is rounded to the tensors' type, the sum is in float32. A
    single row leaves the tensor cores idle: its product is summed by all threads, from a tile in their registers."""
    v = v.to(ROUND)
    if v.shape[0] == 1:
        total += tl.sum(tl.trans(v).to(tl.float32) * tile.to(tl.float32), 0)[None, :]  # type: ignore[index]
    else:
        total = tl.dot(v.to(tile.dtype), tile, total, input_precision=PRECISION)
    return total
