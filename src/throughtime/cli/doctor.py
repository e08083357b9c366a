"""`throughtime doctor`: what is installed, and who computes."""

from __future__ import annotations

import json as json_module
import os
import platform
import sys
from contextlib import suppress
from typing import Any

from throughtime.cli.options import Json, Quiet
from throughtime.cli.terminal import quieten

REQUIRED = ("throughtime", "torch", "numpy")
OPTIONAL = {  # package -> the extra that brings it
    "cyclopts": "cli",
    "rich": "cli",
    "polars": "cli",
    "safetensors": "cli",
    "tomli-w": "cli",
    "matplotlib": "cli",
    "scikit-learn": "cli",
    "seqeval": "cli",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "lightning-fabric": "scale",
}


def doctor(*, json: Json = False, quiet: Quiet = False) -> None:
    """Tell versions, engine, instruction set and threads: what to send with a bug report.

    Args:
        json: for machines.
        quiet: say nothing but results and errors.
    """
    quieten(quiet)
    found = examine()
    if json:
        print(json_module.dumps(found, indent=2))
        return
    rows = {
        name: found[name] or "missing" for name in ("throughtime", "python", "platform", "processor", "torch", "numpy")
    }
    rows |= {"engine": _engine_line(found["engine"])}
    rows |= {"instruction set": found["instruction_set"] or "unknown", "threads": _threads_line(found["threads"])}
    for name, version in found["optional"].items():
        rows[name] = version or f"missing: pip install 'throughtime[{OPTIONAL[name]}]'"
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def examine() -> dict[str, Any]:
    """Everything that `doctor` tells; None where something is missing."""
    try:
        computing = _computing()
    except ImportError as error:
        computing = {"engine": {"missing": str(error)}, "instruction_set": None, "threads": None}
    return {
        **{name: _version(name) for name in REQUIRED},
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        "platform": f"{platform.platform()}, {os.cpu_count()} cores",
        "processor": processor(),
        **computing,
        "optional": {name: _version(name) for name in OPTIONAL},
    }


def environment() -> dict[str, Any]:
    """What is needed to repeat a run, besides its options and data: a part of `examine`, in values that TOML knows."""
    found = examine()
    return {
        **{name: found[name] for name in (*REQUIRED, "platform", "processor", "instruction_set")},
        "python": platform.python_version(),
        "engine": found["engine"]["runs"],
        "threads": found["threads"]["torch"],
    }


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    if package == "throughtime":
        import throughtime

        return throughtime.__version__
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _computing() -> dict[str, Any]:
    import torch

    from throughtime.operators import ops

    native = ops.native
    compiled = native.load_error is None
    available = [*(["native"] if compiled else []), "torch", "reference"]
    return {
        "engine": {
            "chosen": ops.get_engine(),
            "runs": ops.get_engine() if ops.get_engine() != "auto" else "native" if compiled else "reference",
            "available": available,
            "missing": native.load_error,
        },
        "instruction_set": native.isa() if compiled else torch.backends.cpu.get_cpu_capability().lower(),
        "threads": {"torch": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")},
    }


def _engine_line(engine: dict[str, Any]) -> str:
    if "runs" not in engine:
        return f"none: {engine['missing']}"
    missing = f"; native is missing: {engine['missing']}" if engine["missing"] else ""
    return f"{engine['runs']} (chosen: {engine['chosen']}; available: {', '.join(engine['available'])}{missing})"


def _threads_line(threads: dict[str, Any] | None) -> str:
    if threads is None:
        return "unknown"
    limit = threads["OMP_NUM_THREADS"]
    return f"{threads['torch']}" + (f" (OMP_NUM_THREADS={limit})" if limit else "")
