"""scikit-learn estimators for sequences: `fit`, `predict`, `score`, cross-validation, grid search and pipelines.

| estimator | X | y | `predict` |
|---|---|---|---|
| `SequenceTagger` | sequences | a label for each step | a label for each step |
| `SequenceClassifier` | sequences | a label for each sequence | a label for each sequence |
| `SequenceRegressor` | sequences | a number, or several, for each sequence | the same |
| `SequenceForecaster` | series | none | the next values of each series |

X is a list of sequences of any lengths, or an array:

- a list of float arrays [T_i, n], or [T_i] for one feature;
- a list of sequences of symbols: strings, lists of strings, or lists of integers. A symbol that the training does not have, or
  has only once, is the unknown symbol;
- an array [S, T, n]: S sequences of T steps;
- an array or data frame [S, T], or nested lists of floats: each row is a series of T steps of one feature. As everywhere in
  scikit-learn `n_features_in_` is then its number of columns; otherwise it is the number n of features of a step, and 1 for
  symbols.

`from_lengths` makes lists of sequences from one long array, as hmmlearn takes them. Parameters are named as in scikit-learn and
torch.nn; in the notation of this library `hidden_size` is d, `num_layers` and `embedding_size` are the `layers` and `embedding`
of `SequenceModel`, `learning_rate` is η and `max_iter` counts epochs. Networks compute in float32.

`fit` and `partial_fit` take `sample_weight`, and estimators of labels have `class_weight=`. With the optimizer "gd", which
reads all sequences at once, a weight does exactly what repeating a sequence does; with others, whose batches repeating changes,
it does so on average.
"""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "expected the package scikit-learn, which is not installed: pip install 'throughtime[sklearn]'"
    ) from error

from throughtime.estimators.inputs import from_lengths
from throughtime.estimators.per_sequence import SequenceClassifier, SequenceRegressor
from throughtime.estimators.per_step import SequenceForecaster, SequenceTagger

__all__ = ["SequenceClassifier", "SequenceForecaster", "SequenceRegressor", "SequenceTagger", "from_lengths"]
