"""The generated GPU kernels beside what others offer there: forward and all gradients, in milliseconds.

    python benchmarks/gpu_rivals.py [--rounds 50]

- a loop over torch.nn's cell, compiled whole by `torch.compile`, with the seconds that compiling takes;
- FlashRNN's Triton kernels of an LSTM in bfloat16 (`pip install flashrnn einops`);
- TorchRL's back ends for sequences with resets, a GRU with 5 % of starts (`pip install torchrl`).

What is not installed, or fails, is said and left out. The method is that of gpu.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from gpu import LAYERS, medians, sides

import throughtime as tt

Run = Callable[[], object]


def line(label: str, found: dict[str, float]) -> None:
    rivals = (f"{side} {ms:.2f} ({ms / found['ours']:.1f} ×)" for side, ms in found.items() if side != "ours")
    print(f"{label:40} ours {found['ours']:.2f}   {'   '.join(rivals)}", flush=True)


def usable(rivals: dict[str, Run]) -> dict[str, Run]:
    """The sides that run; of the others, why not."""
    running = {}
    for side, run in rivals.items():
        try:
            run()
            running[side] = run
        except Exception as reason:  # whatever another library raises is shown
            print(f"  {side}: {type(reason).__name__}: {str(reason).splitlines()[0][:150]}", flush=True)
    return running


def compiled_loops(rounds: int) -> None:
    for name in LAYERS:
        T, B, d = 100, 32, 64
        runs = sides(name, T, B, d, torch.float32)
        compiled = torch.compile(runs["loop"])
        begin = time.perf_counter()
        running = usable({"compiled loop": compiled})
        took = time.perf_counter() - begin
        if running:
            line(
                f"{name} {T},{B},{d} float32, compiled in {took:.0f} s",
                medians({"ours": runs["ours"], **running}, rounds),
            )


def flashrnn(rounds: int) -> None:
    try:
        from flashrnn.flashrnn.flashrnn import flashrnn
    except ImportError as missing:
        print(f"FlashRNN: {missing}")
        return
    for T, B, d in [(100, 32, 64), (100, 32, 128), (100, 512, 128)]:
        to = {"device": "cuda", "dtype": torch.bfloat16}
        x, up = torch.randn(B, T, d, **to, requires_grad=True), torch.randn(B, T, d, **to)
        W, R, b = (torch.randn(s, **to).div(d**0.5).requires_grad_() for s in ((4 * d, d), (4, 1, d, d), (4, 1, d)))

        def rival(x=x, W=W, R=R, b=b, up=up, B=B, T=T, d=d) -> object:
            states, _ = flashrnn((x @ W.T).view(B, T, 4, 1, d), R, b, function="lstm", backend="triton_fused")
            return torch.autograd.grad(states[0, :, :, 0], [x, W, R, b], up)

        running = usable({"FlashRNN": rival})
        if running:
            line(
                f"lstm {T},{B},{d} bfloat16",
                medians({"ours": sides("lstm", T, B, d, torch.bfloat16)["ours"], **running}, rounds),
            )


def resets(rounds: int) -> None:
    try:
        from tensordict import TensorDict
        from torchrl.modules import GRUModule
    except ImportError as missing:
        print(f"TorchRL: {missing}")
        return
    T, B, d = 128, 64, 64
    x, up = torch.randn(B, T, d, device="cuda", requires_grad=True), torch.randn(B, T, d, device="cuda")
    starts = torch.rand(B, T, device="cuda") < 0.05
    starts[:, 0] = True
    layer = tt.nn.GRU(d, d, batch_first=True).to("cuda")

    def ours() -> object:
        with tt.engine("triton"):
            states, _ = layer(x, starts=starts)
            return torch.autograd.grad(states, [x, *layer.parameters()], up)

    def side(backend: str) -> Run:
        module = GRUModule(
            d, d, in_keys=["x", "state"], out_keys=["states", ("next", "state")], recurrent_backend=backend,
            default_recurrent_mode=True, device="cuda",
        )  # fmt: skip
        module.gru.load_state_dict(layer.state_dict())

        def run() -> torch.Tensor:
            state = torch.zeros(B, T, 1, d, device="cuda")
            batch = TensorDict({"x": x, "state": state, "is_init": starts[..., None]}, [B, T])
            return module(batch)["states"]

        def learn() -> object:
            return torch.autograd.grad(run(), [x, *module.gru.parameters()], up)

        with tt.engine("reference"):
            expected, _ = layer(x, starts=starts)
        try:
            worst = float((run() - expected).detach().abs().max())
            print(f"  TorchRL {backend}: states differ from ours by {worst:.1e}")
        except Exception as reason:  # told in full by `usable`
            print(f"  TorchRL {backend}: {type(reason).__name__}")
        return learn

    running = usable({f"TorchRL {backend}": side(backend) for backend in ("pad", "scan", "triton")})
    line(f"gru {T},{B},{d} float32, 5 % starts", medians({"ours": ours, **running}, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    resets(rounds)
    flashrnn(rounds)
    compiled_loops(rounds)


if __name__ == "__main__":
    main()
