"""Recurrent neural networks trained by exact backpropagation through time: fast, open, practical."""

from throughtime.model import ElmanNetwork, bptt
from throughtime.ops import engine, get_engine, set_engine

__version__ = "0.1.0"

__all__ = ["ElmanNetwork", "bptt", "engine", "get_engine", "set_engine"]
