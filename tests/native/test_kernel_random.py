"""Random calls: shapes, strides, types, lengths, symbols, options. THROUGHTIME_FUZZ=10000 tries so many; without it, a few."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_problems import NONLINEARITIES, check_all, make
from test_kernel_layout import batch_first, last_strided, widened

from throughtime.engines import native

small = st.integers(1, 8) | st.integers(1, 40)
layouts = st.sampled_from([lambda t: t, batch_first, widened, last_strided])


@settings(
    max_examples=int(os.environ.get("THROUGHTIME_FUZZ", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_random_calls(data):
    draw = data.draw
    T, B, n, k = (draw(small, label=name) for name in "TBnk")
    d = draw(small | st.sampled_from([64, 100, 129]), label="d")
    native._native.set_isa(draw(st.sampled_from(native.supported()), label="isa"))
    flag = st.booleans()
    p = make(
        T, B, n, d, k, dtype=draw(st.sampled_from([torch.float32, torch.float64]), label="dtype"),
        symbols=draw(flag, label="symbols"), ragged=draw(flag, label="ragged"), bias=draw(flag), s0=draw(flag),
        upstream=draw(flag), ignored=draw(st.sampled_from([0.0, 0.3, 1.1])), seed=draw(st.integers(0, 10**6), label="seed"),
        nonlinearity=draw(st.sampled_from(NONLINEARITIES), label="σ"), reverse=draw(flag, label="reverse"),
        reduction=draw(st.sampled_from(["sequence", "token"])), threads=draw(st.integers(1, 3), label="threads"),
    )  # fmt: skip
    p = replace(p, x=draw(layouts)(p.x), y=draw(layouts)(p.y))
    if p.lengths is not None:
        p = replace(
            p, lengths=torch.stack([p.lengths * draw(st.integers(0, 1)), p.lengths], 1)[:, draw(st.integers(0, 1))]
        )
    if p.dstates is not None:
        p = replace(
            p, dstates=draw(layouts)(p.dstates), dfinal=draw(st.sampled_from([p.dfinal, p.dfinal[:1].expand(B, d)]))
        )
    if draw(flag):
        p = replace(p, b_hh=None)
    try:
        check_all(p)
    finally:
        native._native.set_isa("")
