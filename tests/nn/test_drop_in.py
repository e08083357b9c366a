"""What PyTorch asks of its own layers, asked of each of ours by name: every mode of gradcheck, ways of recording, layouts.

A layer of `tt.nn` takes part as soon as it is in `LAYERS`. A small grid runs by default; with THROUGHTIME_FUZZ=N and N above 1
the whole one, with the slow modes.
"""

from __future__ import annotations

import itertools
import os
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from beside_torch import pair
from problems import assert_close
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import throughtime as tt

LAYERS = ("RNN", "LSTM", "GRU")
WHOLE_GRID = int(os.environ.get("THROUGHTIME_FUZZ", "1")) > 1
T, B, N, D = 3, 2, 1, 2

each_layer = pytest.mark.parametrize("name", LAYERS)
# PyTorch's own forward mode calls torch.jit.script, which it calls deprecated.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def parts(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def case(name: str, form: str, given: bool, **options: Any) -> tuple[Any, list[Tensor]]:
    """A function of the data, the initial state and all weights of a layer, and these."""
    layer = getattr(tt.nn, name)(N, D, dtype=torch.float64, **options)
    names, weights = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(T, B, N, dtype=torch.float64)
    sizes = None
    if form == "packed":
        x, sizes, *_ = pack_padded_sequence(x, torch.tensor([T, 1]))
    lengths = torch.tensor([1, T]) if form == "lengths" else None
    directions = layer.num_layers * (1 + layer.bidirectional)
    count = 0 if not given else 2 if name == "LSTM" else 1
    initial = [torch.randn(directions, B, D, dtype=torch.float64) for _ in range(count)]

    def run(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        hx = None if not given else tuple(others[:2]) if name == "LSTM" else others[0]
        own = dict(zip(names, others[count:], strict=True))
        input: Any = x if sizes is None else PackedSequence(x, sizes)
        output, final = torch.func.functional_call(layer, own, (input, hx, lengths))
        return output if sizes is None else output.data, *parts(final)

    return run, [t.detach().requires_grad_() for t in (x, *initial, *weights)]


GRID = [
    (form, given, bidirectional)
    for form, given, bidirectional in itertools.product(("whole", "lengths", "packed"), (True, False), (True, False))
    if WHOLE_GRID or (form, given, bidirectional) in {("whole", True, False), ("lengths", False, True)}
]


@forward_mode
@each_layer
@pytest.mark.parametrize("fast", [True, False] if WHOLE_GRID else [True], ids=lambda fast: "fast" if fast else "slow")
@pytest.mark.parametrize(("form", "given", "bidirectional"), GRID)
def test_gradcheck(name: str, form: str, given: bool, bidirectional: bool, fast: bool, engine: str) -> None:
    run, inputs = case(name, form, given, bidirectional=bidirectional)
    every = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    gradcheck(run, inputs, fast_mode=fast, check_undefined_grad=True, check_backward_ad=True, **every)
    gradgradcheck(
        run, inputs, fast_mode=fast, check_undefined_grad=True, check_batched_grad=True, check_fwd_over_rev=True
    )


@forward_mode
@each_layer
def test_jacobians_and_hessians_row_by_row_and_at_once(name: str) -> None:
    """Reverse and forward mode, looped and vectorised, agree with torch's layer."""
    ours, theirs = pair(N, D, kind=name, dtype=torch.float64)
    x = torch.randn(T, B, N, dtype=torch.float64)
    functional = torch.autograd.functional
    for strategy, vectorize in (("reverse-mode", False), ("reverse-mode", True), ("forward-mode", True)):
        found = functional.jacobian(lambda x: ours(x)[0], x, strategy=strategy, vectorize=vectorize)
        expected = functional.jacobian(lambda x: theirs(x)[0], x)
        assert_close(found, expected, 1e-12, f"{strategy}, vectorize={vectorize}")
    for vectorize in (False, True):
        found = functional.hessian(lambda x: ours(x)[0].square().sum(), x, vectorize=vectorize)
        expected = functional.hessian(lambda x: theirs(x)[0].square().sum(), x)
        assert_close(found, expected, 1e-11, f"hessian, vectorize={vectorize}")


@forward_mode
@each_layer
def test_forward_mode_through_the_weights(name: str) -> None:
    ours, theirs = pair(N, D, kind=name, dtype=torch.float64)
    x, tangent = torch.randn(2, T, B, N, dtype=torch.float64)
    tangents = {key: torch.randn_like(value) for key, value in ours.named_parameters()}
    found = []
    for layer in (ours, theirs):
        with forward_ad.dual_level():
            weights = {key: forward_ad.make_dual(value, tangents[key]) for key, value in layer.named_parameters()}
            output, final = torch.func.functional_call(layer, weights, (forward_ad.make_dual(x, tangent),))
            found.append([forward_ad.unpack_dual(t).tangent for t in (output, *parts(final))])
    for i, (mine, expected) in enumerate(zip(*found, strict=True)):
        assert_close(mine, expected, 1e-12, f"tangent {i}")


@each_layer
@pytest.mark.parametrize("form", ["whole", "lengths"])
def test_batched_upstream_gradients_have_the_bits_of_a_loop(name: str, form: str, engine: str) -> None:
    layer = getattr(tt.nn, name)(3, 5, 2, bidirectional=True)
    x, state = torch.randn(6, 4, 3, requires_grad=True), torch.randn(4, 4, 5, requires_grad=True)
    lengths = torch.tensor([6, 1, 3, 6]) if form == "lengths" else None
    output, final = layer(x, (state, state * 2) if name == "LSTM" else state, lengths)
    results, inputs = [output, *parts(final)], [x, state, *layer.parameters()]
    upstream = [torch.randn(7, *r.shape) for r in results]
    upstream[0] = upstream[0].transpose(1, 2).contiguous().transpose(1, 2)  # of strides of its own
    for count in (1, len(results)):  # the outputs alone, and the final states too
        found = torch.autograd.grad(results[:count], inputs, upstream[:count], is_grads_batched=True, retain_graph=True)
        each = [
            torch.autograd.grad(results[:count], inputs, [u[i] for u in upstream[:count]], retain_graph=True)
            for i in range(7)
        ]
        for i, (mine, expected) in enumerate(zip(found, zip(*each, strict=True), strict=True)):
            assert torch.equal(mine, torch.stack(expected)), f"gradient {i} of {count}"


# --- layouts, and what is done to the results ----------------------------------------------------------------------------


@each_layer
@pytest.mark.parametrize("given", [True, False], ids=["given", "zero"])
@pytest.mark.parametrize("steps", [1, 5])
def test_results_lie_in_memory_like_torchs(name: str, steps: int, given: bool, engine: str) -> None:
    for batch_first in (True, False):
        layer = getattr(tt.nn, name)(3, 4, batch_first=batch_first)
        zeros = torch.zeros(1, 2, 4)
        hx = None if not given else (zeros, zeros) if name == "LSTM" else zeros
        for x in (torch.randn(2, steps, 3), torch.randn(steps, 2, 3).transpose(0, 1)):
            for grad in (True, False):
                with torch.set_grad_enabled(grad):
                    output, final = layer(x if batch_first else x.transpose(0, 1), hx)
                assert output.is_contiguous(), (batch_first, x.stride(), grad)
                assert all(part.is_contiguous() and not part._is_view() for part in parts(final))
    rnn = getattr(tt.nn, name)(3, 4)
    assert rnn(torch.randn(2, steps, 3).transpose(0, 1))[0].view(-1, 4).shape == (2 * steps, 4)


@each_layer
@pytest.mark.parametrize("given", [True, False], ids=["given", "zero"])
@pytest.mark.parametrize("steps", [1, 4])
def test_results_may_be_changed_and_detached_in_place(name: str, steps: int, given: bool, engine: str) -> None:
    ours, theirs = pair(3, 4, kind=name, dtype=torch.float64)
    x = torch.randn(steps, 2, 3, dtype=torch.float64, requires_grad=True)
    zeros = torch.zeros(1, 2, 4, dtype=torch.float64)
    hx = None if not given else (zeros, zeros) if name == "LSTM" else zeros
    upstream = torch.randn(steps, 2, 4, dtype=torch.float64)
    for create_graph in (False, True):
        found = []
        for layer in (ours, theirs):
            output, final = layer(x, hx)
            output.mul_(2)[0].sub_(1)
            output.relu_()
            for part in parts(final):
                part.mul_(3)
            value = (output * upstream).sum() + sum(part.sum() for part in parts(final))
            found.append(torch.autograd.grad(value, [x, *layer.parameters()], create_graph=create_graph))
        for i, (mine, expected) in enumerate(zip(*found, strict=True)):
            assert_close(mine, expected, 1e-12, f"gradient {i}, create_graph={create_graph}")
    for part in parts(ours(x, hx)[1]):
        assert part.detach_().grad_fn is None


class Passing(TorchDispatchMode):
    """A mode that sees every operation and changes none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@each_layer
@pytest.mark.parametrize("changed", ["output", "final", "bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize(
    "mode", [nullcontext, Passing, lambda: FlopCounterMode(display=False)], ids=["none", "passing", "flops"]
)
def test_what_torch_allows_to_change_before_the_way_back(name: str, changed: str, mode: Any, engine: str) -> None:
    ours, theirs = pair(3, 4, kind=name, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, 2, 4, dtype=torch.float64)
    found = []
    for layer in (ours, theirs):
        with mode():
            output, final = layer(x)
            with torch.no_grad() if changed.startswith("bias") else nullcontext():
                for t in (
                    [output]
                    if changed == "output"
                    else parts(final)
                    if changed == "final"
                    else [getattr(layer, changed)]
                ):
                    t.mul_(3)
            value = (output * upstream).sum() + sum(part.sum() for part in parts(final))
            x.grad = None
            value.backward()
            found.append([x.grad, *(p.grad for p in layer.parameters())])
    for i, (mine, expected) in enumerate(zip(*found, strict=True)):
        assert_close(mine, expected, 1e-12, f"gradient {i}")


@each_layer
@pytest.mark.parametrize("changed", ["bias_ih_l0", "bias_hh_l0", "weight_hh_l0"])
def test_what_was_needed_and_has_changed_is_refused(name: str, changed: str, engine: str) -> None:
    layer, x = getattr(tt.nn, name)(3, 4), torch.randn(5, 2, 3)
    output, _ = layer(x)
    with torch.no_grad():
        getattr(layer, changed).mul_(2)
    output.mul_(2)  # so that it has to be computed anew
    for create_graph in (False, True):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(output.sum(), layer.weight_ih_l0, retain_graph=True, create_graph=create_graph)


@each_layer
def test_gradients_of_the_two_biases_are_two_tensors(name: str, engine: str) -> None:
    layer = getattr(tt.nn, name)(3, 4)
    found = torch.autograd.grad(layer(torch.randn(5, 2, 3))[0].sum(), [layer.bias_ih_l0, layer.bias_hh_l0])
    assert found[0].data_ptr() != found[1].data_ptr()


# --- tensors that are not plain -------------------------------------------------------------------------------------------


def outcome(layer: Any, x: Tensor, hx: Any, upstream: Tensor | None = None) -> list[Tensor]:
    """Results, and the gradients of all weights."""
    output, final = layer(x, hx)
    grads = torch.autograd.grad(
        output, list(layer.parameters()), torch.ones_like(output) if upstream is None else upstream
    )
    return [output, *parts(final), *grads]


@each_layer
@pytest.mark.parametrize(
    "place", ["x", "state", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "upstream"]
)
def test_a_lazy_sign_is_read(name: str, place: str, engine: str) -> None:
    layer = getattr(tt.nn, name)(3, 4)
    x, upstream = torch.randn(5, 2, 3), torch.randn(5, 2, 4)
    state = tuple(torch.randn(2, 1, 2, 4)) if name == "LSTM" else torch.randn(1, 2, 4)
    expected = outcome(layer, x, state, upstream)

    def lazy(t: Tensor) -> Tensor:
        t = torch._neg_view(
            -t.detach().mT.contiguous().mT if t.dim() > 1 else -t.detach()
        )  # of strides of its own, too
        assert t.is_neg()
        return t

    if place == "x":
        x = lazy(x)
    elif place == "state":
        state = tuple(map(lazy, state)) if name == "LSTM" else lazy(state)
    elif place == "upstream":
        upstream = lazy(upstream)
    else:
        setattr(layer, place, torch.nn.Parameter(lazy(getattr(layer, place))))
    for i, (mine, other) in enumerate(zip(outcome(layer, x, state, upstream), expected, strict=True)):
        assert_close(mine, other, 1e-6, f"result {i}")


@each_layer
@pytest.mark.parametrize("place", ["x", "state", "upstream"])
def test_a_tensor_made_of_others(name: str, place: str, engine: str) -> None:
    """A wrapper subclass has no memory of its own."""
    TwoTensor = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor
    layer = getattr(tt.nn, name)(3, 4)
    x, upstream = torch.randn(5, 2, 3), torch.randn(5, 2, 4)
    state = tuple(torch.randn(2, 1, 2, 4)) if name == "LSTM" else torch.randn(1, 2, 4)
    expected = outcome(layer, x, state, upstream)

    def twice(t: Tensor) -> Tensor:
        return TwoTensor(t.clone(), t.clone())

    if place == "x":
        x = twice(x)
    elif place == "state":
        state = tuple(map(twice, state)) if name == "LSTM" else twice(state)
    else:
        upstream = twice(upstream)
    found = outcome(layer, x, state, upstream)
    assert isinstance(found[-1], TwoTensor)
    for i, (mine, other) in enumerate(zip(found, expected, strict=True)):
        for half in (mine.a, mine.b) if isinstance(mine, TwoTensor) else (mine,):
            assert_close(half, other, 1e-5, f"result {i}")


PLACES = ("x", "state", "weight_hh_l0", "bias_hh_l0", "upstream", "everywhere")


def placed(name: str, place: str, made: Any) -> list[Tensor]:
    """The outcome of a seeded call with the tensor of one place, or with all, made into another kind."""
    torch.manual_seed(1)
    layer = getattr(tt.nn, name)(3, 4)
    x, upstream, *state = torch.randn(5, 2, 3), torch.randn(5, 2, 4), *torch.randn(1 + (name == "LSTM"), 1, 2, 4)
    for key, weight in list(layer.named_parameters()):
        if place in (key, "everywhere"):
            setattr(layer, key, torch.nn.Parameter(made(weight.detach())))
    if place in ("state", "everywhere"):
        state = list(map(made, state))
    x, upstream = (made(t) if place in (key, "everywhere") else t for key, t in (("x", x), ("upstream", upstream)))
    return outcome(layer, x, tuple(state) if name == "LSTM" else state[0], upstream)


@each_layer
@pytest.mark.parametrize("place", ["x", "state", "upstream"])
def test_a_tensor_without_strides_is_refused_by_its_layout(name: str, place: str) -> None:
    with tt.engine("native"), pytest.raises(TypeError, match=r"expected (a )?dense tensors?, found.* torch.sparse_coo"):
        placed(name, place, Tensor.to_sparse)


@each_layer
@pytest.mark.parametrize("place", PLACES)
def test_zeros_without_memory(name: str, place: str, engine: str) -> None:
    found = placed(name, place, lambda t: torch._efficientzerotensor(t.shape))
    for i, (mine, expected) in enumerate(zip(found, placed(name, place, torch.zeros_like), strict=True)):
        assert_close(mine + 0, expected, 1e-6, f"result {i}")


@pytest.fixture(scope="module")
def mesh() -> Any:
    """A mesh of one process."""
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available() or distributed.is_initialized():
        pytest.skip("needs a process group of its own")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield distributed.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@each_layer
@pytest.mark.parametrize("place", PLACES)
def test_distributed_tensors(name: str, place: str, mesh: Any, engine: str) -> None:
    """Right where all are, and refused where they are mixed with others, as by PyTorch's operations."""
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    for split in (False, True):  # weights over their rows, a batch over its sequences

        def made(t: Tensor, split: bool = split) -> Tensor:
            return distribute_tensor(t, mesh, [Shard(int(t.dim() == 3)) if split else Replicate()])

        if place != "everywhere":
            with pytest.raises(RuntimeError, match="mixed torch.Tensor and DTensor"):
                placed(name, place, made)
            continue
        found = placed(name, place, made)
        for i, (mine, expected) in enumerate(zip(found, placed(name, "none", made), strict=True)):
            assert isinstance(mine, DTensor)
            assert_close(mine.full_tensor(), expected, 1e-5, f"result {i}")


@each_layer
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the prototype, and of each operation it lacks
@pytest.mark.parametrize("place", PLACES)
def test_masked_tensors_are_refused(name: str, place: str, engine: str) -> None:
    from torch.masked import as_masked_tensor

    with pytest.raises(TypeError, match="MaskedTensor|masked"):
        placed(name, place, lambda t: as_masked_tensor(t, torch.ones_like(t, dtype=torch.bool)))


@each_layer
@pytest.mark.parametrize("place", PLACES)
def test_fake_tensors_outside_their_mode(name: str, place: str, engine: str) -> None:
    from torch._subclasses import FakeTensorMode

    mode = FakeTensorMode()
    if place != "everywhere":
        with pytest.raises(AssertionError, match="convert all Tensors to FakeTensors"):
            placed(name, place, mode.from_tensor)
        return
    shapes = [t.shape for t in placed(name, place, mode.from_tensor)]
    assert shapes == [t.shape for t in placed(name, "none", mode.from_tensor)]


@each_layer
@pytest.mark.parametrize("tracing_mode", ["real", "symbolic"])
def test_a_captured_graph_of_a_step_is_right_for_other_values(name: str, tracing_mode: str, engine: str) -> None:
    """Forward and back, with an output that is changed in place."""
    layer = getattr(tt.nn, name)(3, 4, 2, bidirectional=True)
    names, weights = zip(*layer.named_parameters(), strict=True)

    def step(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        output, _ = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))
        output.mul_(2)
        return output, *torch.autograd.grad(output.square().sum(), weights)

    graph = make_fx(step, tracing_mode=tracing_mode)(torch.randn(5, 2, 3), *weights)
    x = torch.randn(5, 2, 3)
    for i, (mine, expected) in enumerate(zip(graph(x, *weights), step(x, *weights), strict=True)):
        assert_close(mine, expected, 1e-5, f"result {i}")


@each_layer
def test_fake_and_meta_tensors(name: str) -> None:
    from torch._subclasses import FakeTensorMode

    kind = getattr(tt.nn, name)
    with FakeTensorMode():
        layer, x = kind(3, 4, 2, bidirectional=True), torch.randn(5, 2, 3, requires_grad=True)
        output, final = layer(x)
        output.sum().backward()
        assert output.shape == (5, 2, 8)
        assert x.grad is not None
        assert [part.shape for part in parts(final)] == [(4, 2, 4)] * len(parts(final))
    layer, x = kind(3, 4, device="meta"), torch.randn(5, 2, 3, device="meta", requires_grad=True)
    output, _ = layer(x)
    output.sum().backward()
    assert output.shape == (5, 2, 4)
    assert x.grad is not None


@each_layer
def test_an_empty_batch_there_and_back(name: str, engine: str) -> None:
    ours, theirs = pair(3, 4, 2, bidirectional=True, kind=name)
    x = torch.randn(5, 0, 3)
    for (what, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        found, expected = (
            torch.autograd.grad(layer(x)[0].sum(), w)[0] for layer, w in ((ours, weight), (theirs, other))
        )
        assert torch.equal(found, expected), what


# --- ways of recording ------------------------------------------------------------------------------------------------------


@each_layer
def test_profilers_see_the_operator_and_change_nothing(name: str, engine: str) -> None:
    layer, x = getattr(tt.nn, name)(3, 4), torch.randn(5, 2, 3)
    expected = outcome(layer, x, None)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        found = outcome(layer, x, None)
    names = {event.key for event in profile.key_averages() if event.key.startswith("throughtime::")}
    assert len(names) == 2, names
    for i, (mine, other) in enumerate(zip(found, expected, strict=True)):
        assert_close(mine, other, 1e-6, f"result {i}")


@each_layer
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing(name: str, use_reentrant: bool, engine: str) -> None:
    from torch.utils.checkpoint import checkpoint

    layer, x = getattr(tt.nn, name)(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    found = []
    for run in (lambda: layer(x)[0], lambda: checkpoint(lambda x: layer(x)[0], x, use_reentrant=use_reentrant)):
        layer.zero_grad()
        x.grad = None
        run().square().sum().backward()
        found.append([x.grad, *(p.grad for p in layer.parameters())])
    for i, (expected, mine) in enumerate(zip(*found, strict=True)):
        assert torch.equal(mine, expected), i


@each_layer
def test_saved_tensor_hooks_see_all_that_is_saved(name: str, engine: str) -> None:
    layer, x = getattr(tt.nn, name)(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    expected = outcome(layer, x, None)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).copy(), torch.from_numpy):
        output, _ = layer(x)
        changed = output * 1
    output.data.fill_(7)  # what a hook has kept elsewhere is not touched
    found = torch.autograd.grad(changed, list(layer.parameters()), torch.ones_like(changed))
    for i, (mine, other) in enumerate(zip(found, expected[-len(found) :], strict=True)):
        assert_close(mine, other, 1e-6, f"gradient {i}")


@pytest.mark.parametrize("name", [*LAYERS, "Recurrent"])
def test_torch_jit_script_is_refused_in_one_line(name: str) -> None:
    layer = tt.nn.Recurrent(torch.nn.GRUCell(3, 4)) if name == "Recurrent" else getattr(tt.nn, name)(3, 4)
    with (
        pytest.warns(DeprecationWarning, match="torch.jit.script"),
        pytest.raises(RuntimeError, match=rf"^torch.jit.script: .*{name}.*[^\n]*$"),
    ):
        torch.jit.script(torch.nn.Sequential(layer))


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_gives_torchs_dtype_of_float32_results(name: str, dtype: torch.dtype, engine: str) -> None:
    ours, theirs = pair(3, 4, 2, kind=name, bidirectional=True)
    x = torch.randn(5, 2, 3, requires_grad=True)
    whole = ours(x)
    with torch.autocast("cpu", dtype):
        found = ours(x)
        try:
            expected = theirs(x)
        except RuntimeError:  # oneDNN has no float16 on every processor
            pytest.skip(f"torch.nn.{name} does not run in {dtype} here")
    for mine, other, exact in zip(*([r[0], *parts(r[1])] for r in (found, expected, whole)), strict=True):
        assert mine.dtype == other.dtype
        assert torch.equal(mine, exact.to(mine.dtype))
    (g,) = torch.autograd.grad(found[0].float().sum(), x)
    assert g.dtype == torch.float32
    wide = getattr(tt.nn, name)(3, 4, dtype=torch.float64)
    with torch.autocast("cpu", dtype):
        assert wide(x.double())[0].dtype == torch.float64


@each_layer
@pytest.mark.parametrize("form", ["whole", "packed"])
def test_dropout_draws_torchs_masks(name: str, form: str, engine: str) -> None:
    ours, theirs = pair(3, 4, 3, kind=name, dropout=0.5, bidirectional=True, dtype=torch.float64)
    x: Any = torch.randn(5, 3, 3, dtype=torch.float64)
    if form == "packed":
        x = pack_padded_sequence(x, torch.tensor([2, 5, 1]), enforce_sorted=False)
    found = []
    for layer in (ours, theirs):
        torch.manual_seed(3)
        output, final = layer(x)
        output = output.data if form == "packed" else output
        grads = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
        found.append([output, *parts(final), *grads])
    for i, (mine, expected) in enumerate(zip(*found, strict=True)):
        assert_close(mine, expected, 1e-10, f"result {i}")


@each_layer
def test_a_state_that_is_not_a_number_hands_on_what_torch_hands_on(name: str, engine: str) -> None:
    options = {"nonlinearity": "relu"} if name == "RNN" else {}
    ours, theirs = pair(3, 4, kind=name, **options)
    x = torch.randn(5, 2, 3)
    x[2, 1, 0] = torch.nan
    x.requires_grad_()
    for mine, expected in zip(outcome(ours, x, None), outcome(theirs, x, None), strict=True):
        assert torch.equal(mine.isnan(), expected.isnan())
    for mine, expected in zip(*(torch.autograd.grad(layer(x)[0].sum(), x) for layer in (ours, theirs)), strict=True):
        assert torch.equal(mine.isnan(), expected.isnan())
        assert_close(mine.nan_to_num(), expected.nan_to_num(), 1e-5, "gradient of x")
