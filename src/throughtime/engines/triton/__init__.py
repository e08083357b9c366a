"""Programs as Triton kernels, for NVIDIA GPUs: `printer` prints them, `engine` runs them, `maths` holds what they call."""

from throughtime.engines.triton.engine import backward, forward, source

__all__ = ["backward", "forward", "source"]
