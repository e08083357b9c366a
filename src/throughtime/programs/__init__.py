"""What an engine runs: programs, and the built-in cells written as such. `program` explains the notion."""

from throughtime.programs.elman import elman
from throughtime.programs.gru import gru
from throughtime.programs.levels import Levels, levels
from throughtime.programs.lstm import lstm
from throughtime.programs.program import OPERATIONS, Program
from throughtime.programs.text import parse

CELLS = {"elman": elman, "lstm": lstm, "gru": gru}
"""The built-in cells by name: functions that make the program for n inputs and d units."""

__all__ = ["CELLS", "OPERATIONS", "Levels", "Program", "elman", "gru", "levels", "lstm", "parse"]
