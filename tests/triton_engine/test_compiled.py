"""Kernels compiled ahead for GPUs that are not here: nothing spills to memory, and the matrices fit beside each other."""

import os
import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

import triton.language as tl  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from throughtime.engines.triton import engine, printer  # noqa: E402
from throughtime.programs import elman, gru, lstm  # noqa: E402

SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}
"""Of a multiprocessor, in bytes: NVIDIA's programming guide, table of compute capabilities."""

FITTING = {
    "elman 64": (elman(64, 64), "fp32"),
    "elman 128": (elman(64, 128), "fp32"),
    "elman 100": (elman(3, 100), "fp32"),
    "elman 256 in 16 bit": (elman(64, 256), "bf16"),
    "lstm 64": (lstm(64, 64), "fp32"),
    "lstm 128 in 16 bit": (lstm(64, 128), "bf16"),
    "gru 64": (gru(64, 64), "fp32"),
    "gru 128 in 16 bit": (gru(64, 128), "fp16"),
}
POINTERS = {"fp32": tl.float32, "bf16": tl.bfloat16, "fp16": tl.float16}


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_nothing_spills_and_the_matrices_fit(name, direction, capability, tmp_path):
    program, kind = FITTING[name]
    kernel = getattr(engine._module(program), direction)
    options = {"REVERSE": False, "RAGGED": True, "PIECES": True, "BLOCK": engine.BLOCK, "PRECISION": "tf32x3"}
    options |= {"TILE": POINTERS[kind], "ROUND": POINTERS[kind]}
    types = {"T": "i32", "B": "i32", "lengths": "*i32", "fresh": "*i8"} | dict.fromkeys(printer.FLAGS, "constexpr")
    signature = {a: types.get(a, f"*{kind}") for a in kernel.arg_names}
    constants = {(kernel.arg_names.index(a),): value for a, value in options.items()}
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(kernel.arg_names) if signature[a][0] == "*"}
    source = ASTSource(kernel, signature, constants, aligned)
    target = GPUTarget("cuda", capability, 32)
    found = []
    for registers in (None, engine.REGISTERS):  # the second where the first spills, as the engine does it
        options = {"num_warps": engine.WARPS, "num_stages": engine.STAGES[-1], "maxnreg": registers}
        compiled = triton.compile(source, target=target, options={**options, "enable_fp_fusion": True})
        assert compiled.metadata.shared <= SHARED_MEMORY[capability]
        binary = tmp_path / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        cuobjdump = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        usage = subprocess.run([cuobjdump, "--dump-resource-usage", binary], capture_output=True, text=True, check=True)
        [(stack, local)] = re.findall(r"REG:\d+ STACK:(\d+) .*LOCAL:(\d+)", usage.stdout)
        found.append((int(stack), int(local)))
        if found[-1] == (0, 0):
            return
    raise AssertionError(f"bytes of stack and local memory, without a limit of registers and with it: {found}")
