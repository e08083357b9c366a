"""What came in, given back with what a model says about it: one more column, in the format that came in."""

from throughtime.data.writers.answers import Answers
from throughtime.data.writers.formats import OTHERS, WRITERS, write_as

__all__ = ["OTHERS", "WRITERS", "Answers", "write_as"]
