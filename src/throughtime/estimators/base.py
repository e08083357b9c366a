"""What all estimators share: parameters, training, and pickling without pickled tensors."""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from throughtime.core.notation import NONLINEARITIES
from throughtime.data.encoding import Standardizer
from throughtime.data.preparation import MIN_COUNT
from throughtime.data.sequences import Sequences
from throughtime.data.vocabulary import Vocabulary
from throughtime.data.weighting import ClassWeight, weighted
from throughtime.estimators.inputs import SYMBOLS, read
from throughtime.learning.evaluation import predict_logits
from throughtime.learning.optimizers import OPTIMIZERS, make_optimizer
from throughtime.learning.recipe import fit
from throughtime.models.sequence_model import SequenceModel
from throughtime.nn import LAYERS

LARGEST_BATCH, FEWEST_UPDATES = 32, 10
"""batch_size "auto": 32 sequences, and fewer where that leaves under ten updates per epoch."""

AT_LEAST_1 = Interval(Integral, 1, None, closed="left")


class SequenceEstimator(BaseEstimator):
    """A `SequenceModel`, learnt by `throughtime.fit`; the parameters that all estimators share.

    Args:
        hidden_size: states d of each layer and direction.
        num_layers: recurrent layers on top of each other.
        bidirectional: whether each layer also reads the sequences from their ends.
        cell: "elman", "lstm" or "gru"; or a class or function (n, d) -> a cell for `tt.nn.Recurrent`. An estimator of such a
            cell is pickled with the class's name, as Python does, and read where that can be imported.
        nonlinearity: "tanh", "relu", "logistic" or "identity"; of the cell "elman" alone.
        embedding_size: of a learned vector for each symbol; None: a symbol is a one-hot vector. Nothing for features.
        dropout: probability of zeroing each state between two layers while training.
        standardize: whether features get mean 0 and deviation 1, as measured on the training data.
        optimizer: "adam", "adamw", "rmsprop", "momentum", "sgd", "gd", or a factory, as in `throughtime.fit`.
        learning_rate: η.
        batch_size: sequences per update; "auto": 32, and fewer where that leaves under ten updates per epoch.
        max_iter: passes over the data.
        early_stopping: whether to hold sequences out, to stop when the loss on them falls no more, and to keep the weights
            that did best.
        validation_fraction: the share held out for that.
        n_iter_no_change: epochs without a lower loss before it stops.
        random_state: of the initial weights, the order of the sequences, dropout and what is held out.
        verbose: whether to show a progress bar on standard error.

    Attributes:
        model_: the network.
        n_features_in_: see the package.
        vocabulary_: of the symbols, where X holds symbols.
        loss_curve_: the mean loss per target in each epoch.
        validation_loss_curve_: the same of the sequences held out, with `early_stopping`.
        n_iter_: epochs done.
    """

    _task: str
    n_features_in_: int
    _kind: str  # what X holds, like n_features_in_ learnt by `inputs.read`
    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 scikit-learn's name and form
        "hidden_size": [AT_LEAST_1],
        "num_layers": [AT_LEAST_1],
        "bidirectional": ["boolean"],
        "cell": [StrOptions(set(LAYERS)), callable],
        "nonlinearity": [StrOptions(set(NONLINEARITIES))],
        "embedding_size": [AT_LEAST_1, None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), AT_LEAST_1],
        "max_iter": [AT_LEAST_1],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [AT_LEAST_1],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        cell: Any = "elman",
        nonlinearity: str = "tanh",
        embedding_size: int | None = None,
        dropout: float = 0.0,
        standardize: bool = True,
        optimizer: Any = "adam",
        learning_rate: float = 3e-3,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.cell = cell
        self.nonlinearity = nonlinearity
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.standardize = standardize
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from the beginning.

        Args: sample_weight: how much each sequence counts, [S] numbers of 0 or more; None: all the same.

        Raises:
            ValueError, TypeError: a parameter, X or y is wrong; the message names it.
            throughtime.learning.NonFiniteError: a loss or gradient is NaN or infinite.
        """
        given = {"sample_weight": sample_weight}
        return self._learn(X, y, fresh=True, epochs=self.max_iter, early_stopping=self.early_stopping, **given)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One more pass, over these sequences. How X is encoded and scaled stays as it was at the first call."""
        fresh = not hasattr(self, "model_")
        return self._learn(X, y, fresh=fresh, epochs=1, early_stopping=False, sample_weight=sample_weight)

    def _encode(self, X: Any, y: Any, fresh: bool, sample_weight: np.ndarray | None) -> tuple[Sequences, int]:
        """X and y as the network reads them, and the number k of its outputs; `fresh` learns how to encode."""
        raise NotImplementedError

    def _weights_of_classes(self) -> ClassWeight | None:
        """By the numbers of the classes; None: all the same."""
        return None

    def _learn(
        self, X: Any, y: Any, *, fresh: bool, epochs: int, early_stopping: bool, sample_weight: Any, **given: Any
    ) -> Self:
        """Some epochs, from a new network or from where the last ones ended; `given` is told to `_encode`."""
        self._validate_params()
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        sequences, k = self._encode(X, y, fresh, sample_weight, **given)
        sequences = weighted(sequences, sample_weight, self._weights_of_classes())
        if fresh:
            self._random = check_random_state(self.random_state)
            self._begin(k)
        seed, valid = self._seed(), None
        if early_stopping:
            labels = sequences.y if self._task == "classify" else None
            rows, held_out = train_test_split(
                np.arange(len(sequences)), test_size=self.validation_fraction, random_state=seed, stratify=labels
            )
            sequences, valid = sequences.take(rows), sequences.take(held_out)
        history = fit(
            self.model_,
            sequences,
            valid,
            optimizer=self._same_optimizer,
            epochs=epochs,
            batch_size=self._batch_size(len(sequences)),
            patience=self.n_iter_no_change if early_stopping else None,
            seed=seed,
            progress=bool(self.verbose),
        )
        self.loss_curve_ += history["train_loss"]
        if valid is not None:
            self.validation_loss_curve_ = history["valid_loss"]
        self.n_iter_ += len(history)
        return self

    def _begin(self, k: int) -> None:
        """A new network of k outputs."""
        self._architecture: dict[str, Any] = {
            "n": len(self.vocabulary_) if self._kind == SYMBOLS else self._width,
            "d": int(self.hidden_size),
            "k": k,
            "embedding": None if self.embedding_size is None or self._kind != SYMBOLS else int(self.embedding_size),
            "layers": int(self.num_layers),
            "bidirectional": bool(self.bidirectional),
            "dropout": float(self.dropout),
            "cell": self.cell,
            "nonlinearity": self.nonlinearity,
            "task": self._task,
        }
        self.model_ = self._empty()
        if self.model_.readout.weight.is_meta:
            self.model_.to_empty(device="cpu")
        self.model_.reset_parameters(torch.Generator().manual_seed(self._seed()))
        self._optimizer: torch.optim.Optimizer | None = None
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _empty(self) -> SequenceModel:
        """A network without memory for its weights, so that nothing is drawn from PyTorch's global generator; one of a user's
        cell with it, as that may hold constants."""
        if callable(self.cell):
            with torch.random.fork_rng(devices=[]):
                return SequenceModel(**self._architecture)
        with torch.device("meta"):
            return SequenceModel(**self._architecture)

    def _seed(self) -> int:
        return int(self._random.randint(2**31 - 1))

    def _same_optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """One optimiser for all calls of `partial_fit`, so that its running averages go on."""
        if self._optimizer is None:
            self._optimizer = make_optimizer(self.optimizer, parameters, self.learning_rate)
        return self._optimizer

    def _batch_size(self, S: int) -> int:
        if self.optimizer == "gd":
            return S
        if self.batch_size == "auto":
            return min(LARGEST_BATCH, max(1, S // FEWEST_UPDATES))
        return int(self.batch_size)

    def _encode_inputs(self, X: Any, fresh: bool, sample_weight: np.ndarray | None = None) -> list[np.ndarray]:
        """X as symbols int64 [T_i], or standardised float32 [T_i, n]; `fresh` learns the vocabulary or the scale."""
        sequences = read(self, X, reset=fresh)
        if self._kind == SYMBOLS:
            if fresh:
                self.vocabulary_ = Vocabulary.from_sequences(sequences, MIN_COUNT)
            return [self.vocabulary_.encode(symbols) for symbols in sequences]
        if fresh:
            self._width = sequences[0].shape[1]
            of_steps = None if sample_weight is None else np.repeat(sample_weight, [len(own) for own in sequences])
            self._scale = Standardizer.fit(np.concatenate(sequences), of_steps) if self.standardize else None
        scaled = sequences if self._scale is None else map(self._scale.apply, sequences)
        return [values.astype(np.float32) for values in scaled]

    def _outputs(self, X: Any, dtype: torch.dtype = torch.float32) -> list[np.ndarray]:
        """What the network says of each sequence, computed in `dtype`: [T_i, k], or [k] where there is one target for each."""
        check_is_fitted(self, "model_")
        sequences = Sequences.from_arrays(self._encode_inputs(X, fresh=False))
        model = self.model_ if dtype == torch.float32 else copy.deepcopy(self.model_).to(dtype)
        return [z.numpy() for z in predict_logits(model, sequences)]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[arg-type]
        state.pop("_optimizer", None)
        model = state.pop("model_", None)
        if model is not None:
            state["_safetensors"] = to_safetensors({name: t.contiguous() for name, t in model.state_dict().items()})
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state.pop("_safetensors", None)
        super().__setstate__(state)
        if weights is not None:
            self.model_ = self._empty()
            self.model_.load_state_dict(from_safetensors(weights), assign=True)
            self._optimizer = None


class LabelEstimator(SequenceEstimator):
    """Targets are labels.

    Args: class_weight: how much each label counts: None: all the same; "balanced": all classes together the same; or a
        mapping from labels to numbers of 0 or more, 1 for those that it lacks. All others are those of `SequenceEstimator`.

    Attributes:
        classes_: the k labels in order.
    """

    _parameter_constraints = SequenceEstimator._parameter_constraints | {
        "class_weight": [StrOptions({"balanced"}), dict, None]
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        cell: str = "elman",
        nonlinearity: str = "tanh",
        embedding_size: int | None = None,
        dropout: float = 0.0,
        standardize: bool = True,
        class_weight: str | dict[Any, float] | None = None,
        optimizer: Any = "adam",
        learning_rate: float = 3e-3,
        batch_size: int | str = "auto",
        max_iter: int = 50,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            cell=cell,
            nonlinearity=nonlinearity,
            embedding_size=embedding_size,
            dropout=dropout,
            standardize=standardize,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more pass, over these sequences. How X is encoded and scaled stays as it was at the first call.

        Args: classes: all labels that there will be; needed at the first call.
        """
        fresh = not hasattr(self, "model_")
        if fresh and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit")
        given = {"classes": classes, "sample_weight": sample_weight}
        return self._learn(X, y, fresh=fresh, epochs=1, early_stopping=False, **given)

    def _weights_of_classes(self) -> ClassWeight | None:
        if not isinstance(self.class_weight, dict):
            return self.class_weight
        numbers = {label: i for i, label in enumerate(self.classes_.tolist())}
        if unknown := [label for label in self.class_weight if label not in numbers]:
            raise ValueError(f"class_weight: expected labels of {self.classes_.tolist()}, found {unknown[0]!r}")
        return {numbers[label]: weight for label, weight in self.class_weight.items()}

    def _codes(self, y: np.ndarray, fresh: bool, classes: Any) -> np.ndarray:
        """Labels [N] as integers, int64 [N]; `fresh` learns `classes_`, from `classes` where given.

        Raises: ValueError: labels that are no classes, or one that is not among `classes_`.
        """
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        if fresh:
            self.classes_ = np.unique(y if classes is None else classes)
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[codes] != y
        if unknown.any():
            raise ValueError(
                f"y: expected one of the classes {self.classes_.tolist()}, found {y[unknown].tolist()[0]!r}"
            )
        return codes.astype(np.int64)


def required(estimator: BaseEstimator, y: Any) -> Any:
    """y, which must be there."""
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    return y
