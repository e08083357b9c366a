"""Sources of sequences → vocabulary → batches."""

from throughtime.data.baselines import majority_accuracy, symbol_accuracy
from throughtime.data.builtin.python_source import KINDS, label_text
from throughtime.data.dataset import Dataset
from throughtime.data.encoding import Encoding, Standardizer
from throughtime.data.errors import DataError
from throughtime.data.files import write_atomically
from throughtime.data.sequences import IGNORED, Sequences
from throughtime.data.sources import load
from throughtime.data.vocabulary import Vocabulary

__all__ = [
    "IGNORED",
    "KINDS",
    "DataError",
    "Dataset",
    "Encoding",
    "Sequences",
    "Standardizer",
    "Vocabulary",
    "label_text",
    "load",
    "majority_accuracy",
    "symbol_accuracy",
    "write_atomically",
]
