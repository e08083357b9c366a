"""The generated GPU kernels beside cuDNN and a loop over steps: forward and all gradients, in milliseconds.

    python benchmarks/gpu.py [--rounds 50]

Times are of CUDA events, warm, the median of `rounds`, the sides taking turns. "cuDNN" is torch.nn.RNN, LSTM and GRU; "loop" is
torch.nn's cell called step by step under autograd, what a user's own cell costs without an engine; "sweeps" is the part of our
time that the two kernels take by themselves, from the profiler.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from throughtime.engines import triton
from throughtime.programs import CELLS
from throughtime.programs.calls import Batch, Needs, Recurrence, Upstream

SIZES = [(100, 32, 64), (100, 32, 128), (1000, 1, 128), (1000, 16, 256), (100, 512, 128), (100, 4096, 64)]
LAYERS = {
    "elman": (torch.nn.RNN, torch.nn.RNNCell),
    "lstm": (torch.nn.LSTM, torch.nn.LSTMCell),
    "gru": (torch.nn.GRU, torch.nn.GRUCell),
}


def sides(name: str, T: int, B: int, d: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """One learning step's recurrence on each side: from x and ∂L/∂states to the gradients of x and the weights."""
    make_layer, make_cell = LAYERS[name]
    to = {"device": "cuda", "dtype": dtype}
    layer, cell = make_layer(d, d, **to), make_cell(d, d, **to)
    x, up = torch.randn(T, B, d, **to, requires_grad=True), torch.randn(T, B, d, **to)
    program = CELLS[name](d, d)
    recurrence = Recurrence(program, tuple(p.detach() for p in layer.parameters()))
    batch = Batch((x.detach(),), (None,) * len(program.state))
    upstream = Upstream((up,), (None,) * len(program.state))
    needs = Needs((True,), (True,) * len(recurrence.weights), (False,) * len(program.state))

    def ours() -> object:
        return triton.backward(recurrence, batch, triton.forward(recurrence, batch, True), upstream, needs)

    def cudnn() -> object:
        return torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], up)

    def loop() -> object:
        state, states = None, []
        for step in x:
            state = cell(step, state)
            states.append(state[0] if name == "lstm" else state)
        return torch.autograd.grad(torch.stack(states), [x, *cell.parameters()], up)

    return {"ours": ours, "cuDNN": cudnn, "loop": loop}


def medians(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each side in milliseconds, the sides taking turns."""
    times: dict[str, list[float]] = {side: [] for side in runs}
    for round in range(rounds + 5):
        for side, run in runs.items():
            if side == "loop" and round >= 15:
                continue  # it is slow, and its spread is small
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize()
            if round >= 5:
                times[side].append(begin.elapsed_time(end))
    return {side: sorted(found)[len(found) // 2] for side, found in times.items()}


def sweeps(run: Callable[[], object]) -> float:
    """Milliseconds of one run that the generated kernels take."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(5):
            run()
        torch.cuda.synchronize()
    events = [e for e in profiler.key_averages() if e.key in ("forward", "backward")]
    return sum(e.device_time_total for e in events) / 5 / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print("cell   T,B,d          type       ours  (sweeps)   cuDNN    loop    cuDNN÷ours  loop÷ours")
    for name in LAYERS:
        for T, B, d in SIZES:
            for dtype in (torch.float32, torch.bfloat16):
                runs = sides(name, T, B, d, dtype)
                label = f"{name:6} {f'{T},{B},{d}':14} {str(dtype)[6:]:8}"
                try:
                    runs["ours"]()
                except RuntimeError as reason:
                    print(f"{label} {reason}")
                    continue
                found = medians(runs, rounds)
                own, cudnn, loop = (found[side] for side in ("ours", "cuDNN", "loop"))
                print(
                    f"{label} {own:6.2f}  ({sweeps(runs['ours']):6.2f})  {cudnn:6.2f} {loop:8.2f}"
                    f"   {cudnn / own:8.2f} {loop / own:9.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
