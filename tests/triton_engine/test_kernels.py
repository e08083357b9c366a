"""Generated kernels against the reference in float64: on a GPU where there is one, else in Triton's interpreter.

`make test-triton` runs them in the interpreter, which must be chosen before Triton is imported."""

import os

import pytest
import torch
from random_programs import random_program

pytest.importorskip("triton")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a GPU, or Triton's interpreter: make test-triton", allow_module_level=True)

import throughtime as tt
from throughtime.engines import reference_program, triton
from throughtime.programs import elman, gru, lstm, parse
from throughtime.programs.calls import Batch, Needs, Recurrence, Upstream
from throughtime.programs.program import OPERATIONS

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")]
"""The interpreter's NumPy says aloud what a GPU does silently, in the padding of blocks and in branches not taken."""

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

PROGRAMS = {
    "elman": elman(3, 17),
    "elman of one unit": elman(1, 1, nonlinearity="relu"),
    "elman, logistic": elman(2, 16, bias=False, nonlinearity="logistic"),
    "lstm": lstm(3, 5),
    "lstm, projected to one": lstm(3, 4, proj_size=1),
    "gru": gru(3, 5),
    "gru, reset before": gru(2, 4, reset_after=False),
}

TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-2, torch.bfloat16: 2e-1}
"""Of the largest number of each result: some hundred roundings of the type."""


def results(engine, program, dtype, reverse, ragged, pieces, T=5, B=3):
    torch.manual_seed(len(program.text))
    to = {"dtype": dtype, "device": DEVICE}
    weights = [torch.randn(m.rows, m.columns) / m.columns**0.5 for m in program.matrices]
    weights += [torch.randn(p.width) for p in program.parameters]
    inputs = [torch.randn(T, B, v.width) for v in program.inputs]
    initial = [torch.randn(B, s.width) for s in program.state]
    restart = [torch.randn(s.width) for s in program.state] if pieces else []
    lengths = torch.tensor([T, 1, T - 2, T][:B]) if ragged else None
    starts = (torch.rand(T, B) < 0.4).to(DEVICE) if pieces else None
    recurrence = Recurrence(program, tuple(w.to(**to) for w in weights))
    moved = [tuple(t.to(**to) for t in tensors) for tensors in (inputs, initial, restart)]
    batch = Batch(moved[0], moved[1], lengths, starts, moved[2], reverse)
    walk = engine.forward(recurrence, batch, True)
    upstream = Upstream(
        tuple(torch.randn(o.shape).to(**to) for o in walk.outputs),
        tuple(torch.randn(s.shape).to(**to) for s in walk.final),
    )
    needs = Needs((True,) * len(inputs), (True,) * len(weights), (True,) * len(initial), (True,) * len(restart))
    found = engine.backward(recurrence, batch, walk, upstream, needs)
    return [*walk.outputs, *walk.final, *found.inputs, *found.weights, *found.initial, *found.restart]


def assert_agree(program, dtype=torch.float32, **options):
    found = results(triton, program, dtype, **options)
    expected = results(reference_program, program, torch.float64, **options)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=0, atol=TOLERANCE[dtype] * max(float(b.abs().max()), 1.0))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("ragged", "pieces"), [(False, False), (True, False), (True, True)])
def test_kernels_agree_with_the_reference(name, reverse, ragged, pieces):
    assert_agree(PROGRAMS[name], reverse=reverse, ragged=ragged, pieces=pieces)


@pytest.mark.parametrize("name", ["elman", "lstm, projected to one", "gru"])
@pytest.mark.parametrize("B", [1, 200])
def test_one_row_and_many(name, B):
    assert_agree(PROGRAMS[name], reverse=True, ragged=B == 1, pieces=True, B=B)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_16_bit_numbers_are_summed_in_32(name, dtype):
    assert_agree(PROGRAMS[name], dtype, reverse=False, ragged=True, pieces=False)


def test_the_same_bits_come_from_every_call():
    first, again = (results(triton, PROGRAMS["lstm"], torch.float32, True, True, True) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)


ONE_OPERATION = """
    one
    inputs x[6]
    state s[6]
    matrices W[6, 6]
    parameters p[6]
    forward
    u = W @ s + x
    v = {value}
    new = tanh(v + p)
    outputs new
    next new
    upstream dy[6] dn[6]
    backward
    d = dy + dn
    ds = W.T @ d
    gradients
    s: ds
    x: d
    W: d @ s.T
    p: d
"""
SAFE = {"sqrt": "sqrt(abs(u) + 1)", "rsqrt": "rsqrt(abs(u) + 1)", "log": "log(abs(u) + 1)", "log1p": "log1p(abs(u))"}
SAFE |= {"reciprocal": "reciprocal(abs(u) + 1)", "div": "u / (abs(x) + 1)", "pow": "pow(u, 3.0)"}
SAFE |= {
    "clamp": "clamp(u, -0.5, 0.5)",
    "where": "where(u > 0, x, p)",
    "row_sum": "u * row_sum(u)",
    "row_max": "u - row_max(u)",
}


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_operation_means_what_it_means_in_the_reference(op):
    arguments = ["u", "x", "p"][: OPERATIONS[op]]
    program = parse(ONE_OPERATION.format(value=SAFE.get(op, f"{op}({', '.join(arguments)})")))
    assert_agree(program, reverse=False, ragged=False, pieces=False)


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.5, 0.74, 0.76, 3.0, 20.0])
def test_tanh_expm1_and_log1p_are_exact_for_small_and_large_numbers(size):
    for name in ("tanh", "expm1", "log1p"):
        text = (
            ONE_OPERATION.replace("W @ s + x", "W @ s + x").format(value=f"{name}(x)").replace("tanh(v + p)", "copy(v)")
        )
        program = parse(text)
        x = torch.full((1, 1, 6), size) * torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
        zero = (torch.zeros(6, 6), torch.zeros(6))
        found, exact = (
            engine.forward(
                Recurrence(program, tuple(w.to(DEVICE, dtype) for w in zero)),
                Batch((x.to(DEVICE, dtype),), (None,)),
                False,
            ).outputs[0]
            for engine, dtype in ((triton, torch.float32), (reference_program, torch.float64))
        )
        torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


def test_what_has_no_kernel_is_refused_by_what_does_not_fit():
    program = parse(ONE_OPERATION.format(value="pow(abs(u), 2.5)"))
    with pytest.raises(RuntimeError, match='engine "triton": pow: expected a whole exponent from 1 to 8, found 2.5'):
        results(triton, program, torch.float32, False, False, False)
    with pytest.raises(
        RuntimeError, match='engine "triton": expected float32, bfloat16 or float16, found torch.float64'
    ):
        results(triton, PROGRAMS["elman"], torch.float64, False, False, False)


def test_the_source_is_the_program_line_by_line():
    text = triton.source(PROGRAMS["elman"])
    assert "new = maths.tanh(a)" in text
    assert "da = ds * (1.0 - new * new)" in text


def test_random_programs():
    """THROUGHTIME_FUZZ sets how many."""
    for seed in range(int(os.environ.get("THROUGHTIME_FUZZ", "200"))):
        program = random_program(seed)
        options = {"reverse": seed % 2 == 1, "ragged": seed % 3 == 1, "pieces": seed % 5 == 1, "T": 3, "B": 3}
        try:
            found = results(triton, program, torch.float32, **options)
        except RuntimeError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        near = results(reference_program, program, torch.float32, **options)
        exact = results(reference_program, program, torch.float64, **options)
        for i, (a, b, c) in enumerate(zip(found, near, exact, strict=True)):
            size = max(float(c.abs().max()), 1.0)
            # What the reference loses in float32 tells how far rounding is amplified, by comparisons above all.
            allowed = TOLERANCE[torch.float32] * size + 4 * float((b.double() - c).abs().max())
            worst = float((a.double() - c).abs().max())
            assert worst <= allowed, f"seed {seed}, result {i}: differs by {worst:.2g}, allowed {allowed:.2g}"


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_run_on_the_engine_that_is_asked_for(kind):
    layer = getattr(tt.nn, kind)(3, 5, num_layers=2, bidirectional=True).to(DEVICE)
    x = torch.randn(4, 2, 3, device=DEVICE, requires_grad=True)
    lengths = torch.tensor([4, 2])
    up = torch.randn(4, 2, 10, device=DEVICE)
    tensors = [x, *layer.parameters()]
    with tt.engine("triton"):
        states, _ = layer(x, lengths=lengths)
        found = torch.autograd.grad(states, tensors, up)
        again = torch.autograd.grad(layer(x, lengths=lengths)[0].square().sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(again.sum(), layer.weight_hh_l0)[0]
    with tt.engine("reference"):
        expected_states, _ = layer(x, lengths=lengths)
        expected = torch.autograd.grad(expected_states, tensors, up)
        again = torch.autograd.grad(layer(x, lengths=lengths)[0].square().sum(), x, create_graph=True)[0]
        expected_second = torch.autograd.grad(again.sum(), layer.weight_hh_l0)[0]
    torch.testing.assert_close(states, expected_states, rtol=1e-4, atol=1e-5)
    for a, b in zip([*found, second], [*expected, expected_second], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["MGU", "LIF", "LayerNormLSTM"])
def test_cells_that_are_modules_run_as_kernels(kind):
    layer = tt.nn.Recurrent(getattr(tt.cells, kind)(3, 6)).to(DEVICE)
    x = torch.randn(5, 2, 3, device=DEVICE, requires_grad=True)
    tensors = [x, *layer.parameters()]
    up = torch.randn(5, 2, 6, device=DEVICE)
    with tt.engine("triton"):
        states, _ = layer(x)
        found = torch.autograd.grad(states, tensors, up)
    assert layer.engine == "program"
    with tt.engine("reference"):
        expected_states, _ = layer(x)
        expected = torch.autograd.grad(expected_states, tensors, up)
    torch.testing.assert_close(states, expected_states, rtol=1e-4, atol=1e-5)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_compiled_layer_runs_the_kernels_too():
    layer = tt.nn.GRU(3, 5).to(DEVICE)
    x = torch.randn(4, 2, 3, device=DEVICE, requires_grad=True)
    with tt.engine("triton"):
        states, _ = layer(x)
        compiled, _ = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
        found, expected = (torch.autograd.grad(s.square().sum(), [x, *layer.parameters()]) for s in (compiled, states))
    torch.testing.assert_close(compiled, states, rtol=0, atol=0)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_kernels_wait_for_what_their_stream_does_before_them():
    layer = tt.nn.GRU(3, 5).to(DEVICE)
    x = torch.randn(4, 2, 3, device=DEVICE)
    with tt.engine("triton"):
        expected, _ = layer(x)
        late = torch.zeros_like(x)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)  # some 50 ms, in which the kernels would read zeros
            late.copy_(x)
            states, _ = layer(late)
        stream.synchronize()
    torch.testing.assert_close(states, expected, rtol=0, atol=0)


def test_an_elman_network_has_no_kernels():
    net = tt.ElmanNetwork(3, 4, 2)
    with tt.engine("triton"), pytest.raises(RuntimeError, match='engine "triton": expected a layer of throughtime.nn'):
        net.loss(torch.randn(2, 5, 3), torch.randint(2, (2, 5)))
