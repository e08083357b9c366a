"""The run folder: what a training leaves behind, and how it is read back.

    config.toml          every option of the training
    model.json           the architecture: class and arguments
    model.safetensors    the weights
    vocabulary.json      the names of inputs and outputs, and their scaling
    metrics.csv          one row per epoch
    metrics.json         the final results
    SHA256SUMS           the checksums of these files

The command line adds pictures to them.

A folder comes into being whole, under a temporary name that is then changed. What is read back is not trusted: every key, size
and shape is checked before it is used, and nothing in the folder can run code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.core.weights import settled
from throughtime.data import preparation
from throughtime.data.encoding import Encoding
from throughtime.data.files import new_folder, not_written, write_atomically
from throughtime.data.readers.words import WORDS, split_words
from throughtime.data.records import Records
from throughtime.data.sequences import Sequences
from throughtime.learning.checksums import check_checksums, write_checksums
from throughtime.learning.evaluation import predict_logits
from throughtime.learning.history import History
from throughtime.learning.tensor_files import read_tensors
from throughtime.models.cell_layers import CellFactory, cell_name
from throughtime.models.model import ElmanNetwork
from throughtime.models.sequence_model import SequenceModel
from throughtime.untrusted.showing import short, visible
from throughtime.untrusted.toml_files import read_toml

FILES = ("config.toml", "model.json", "model.safetensors", "vocabulary.json", "metrics.csv", "metrics.json")
JSON_VERSION = 1


def _elman_arguments(net: ElmanNetwork) -> dict[str, Any]:
    initial_state = "zero" if net.s0 is None else "learned"
    return {"n": net.n, "d": net.d, "k": net.k, "nonlinearity": net.nonlinearity, "initial_state": initial_state}


def _sequence_arguments(model: SequenceModel) -> dict[str, Any]:
    names = (
        "n",
        "d",
        "k",
        "columns",
        "alphabet",
        "characters",
        "read",
        "layers",
        "bidirectional",
        "nonlinearity",
        "task",
    )
    found = {name: getattr(model, name) for name in (*names, "dropout", "input_dropout", "readout_dropout")}
    embedding = None if model.embedding is None else model.word_table().embedding_dim
    return found | {"cell": cell_name(model.cell), "embedding": embedding}


MODELS: dict[str, tuple[type[nn.Module], Callable[[Any], dict[str, Any]]]] = {
    "ElmanNetwork": (ElmanNetwork, _elman_arguments),
    "SequenceModel": (SequenceModel, _sequence_arguments),
}
"""The models that a run can hold, with the arguments that build each anew."""


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model and everything needed to use it.

    Attributes:
        path: the folder.
        model: one of `MODELS`, in evaluation mode, on the CPU.
        encoding: the task, the names of inputs and outputs, their scaling.
        config: the options of the training.
        metrics: the final results.
    """

    path: Path
    model: Any
    encoding: Encoding
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]

    def __repr__(self) -> str:
        kind, n, k = type(self.model).__name__, self.encoding.n, self.encoding.k
        count = sum(p.numel() for p in self.model.parameters())
        return f"Run({short(str(self.path))!r}, {self.encoding.task}: {kind}, n={n}, k={k}, {count:,} parameters)"

    def encode(self, x: str | Sequence[Any]) -> Sequences:
        """Sequences as the model reads them.

        Args:
            x: a model of symbols takes a list of sequences of symbols, or a string, which is one sequence: of its characters,
                or of its words where the model reads words: split as the training's texts were, or at spaces where these came
                as words. A model of several columns takes a tuple of such sequences, one
                for each column, in the place of a sequence. A symbol that the model does not know becomes the unknown one. A
                model of features takes a list of arrays [T_i, features], NaN where a value is missing.

        Raises: TypeError, ValueError: not such sequences.
        """
        if self.encoding.vocabulary is not None:
            rows: list[Any] = list(x) if not isinstance(x, str) else [self._symbols(x)]
            names, places = [str(i) for i in range(len(rows))], [f"x[{i}]" for i in range(len(rows))]
            return preparation.encode(Records("x", self.encoding.task, rows, None, names, places), self.encoding)
        if isinstance(x, str):
            raise TypeError(f"x: expected arrays of {self.encoding.n} features, found a string")
        arrays = [np.asarray(array, np.float64).reshape(len(array), -1) for array in x]
        expected = len(self.encoding.features or ())
        for i, array in enumerate(arrays):
            if array.shape[1] != expected:
                raise ValueError(f"x[{i}]: expected {expected} features, found {array.shape[1]}")
        return Sequences.from_arrays([self.encoding.encode_features(array) for array in arrays])

    def logits(self, x: str | Sequence[Any] | Sequences) -> list[Tensor]:
        """What the model computes for each sequence: [T_i, k], or [k] where the label is that of the whole sequence.

        Args: x: as in `encode`, or sequences already encoded.
        """
        sequences = x if isinstance(x, Sequences) else self.encode(x)
        return predict_logits(self.model, sequences, truncate=self.truncate)

    def predict(self, x: str | Sequence[Any] | Sequences) -> list[Any]:
        """The most probable labels of each sequence by name: a list of T_i, or one where it is that of the whole sequence.

        Args: x: as in `encode`, or sequences already encoded.
        """
        return self.labels(self.logits(x))

    def labels(self, logits: Sequence[Tensor]) -> list[Any]:
        """The most probable labels by name, of what `logits` returns: as `predict`."""
        labels = np.asarray(self.encoding.labels, dtype=object)
        return [
            labels[self.encoding.decode(z.numpy())].tolist() if z.dim() > 1 else labels[int(z.argmax())] for z in logits
        ]

    @property
    def reads_characters(self) -> bool:
        """Whether the symbols that the model reads are characters."""
        vocabulary = self.encoding.vocabulary
        return vocabulary is not None and vocabulary.of_characters

    def _symbols(self, text: str) -> str | list[str]:
        if self.reads_characters:
            return text
        return split_words(text) if self.config.get("units") == WORDS else text.split()

    @property
    def truncate(self) -> int | None:
        """The window in which long sequences are walked, as in the training."""
        truncate = self.config.get("truncate")
        return truncate if isinstance(truncate, int) else None


def check_free(path: Path, overwrite: bool = False) -> None:
    """Check that a run may be written to `path`.

    Raises: ValueError: something is there, and it is not a run that may be overwritten.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir() or not (path / "model.json").is_file():
        raise ValueError(f"{path}: expected a free name, an empty folder or a run, found something else")
    if not overwrite:
        raise ValueError(f"{path}: expected a free name, found a run; --overwrite replaces it")


def describe(model: nn.Module) -> dict[str, Any]:
    """What model.json holds: the class and the arguments that build it anew.

    Raises: TypeError: not one of `MODELS`.
    """
    kind = type(model).__name__
    if kind not in MODELS:
        raise TypeError(f"model: expected one of {', '.join(MODELS)}, found {kind}")
    return {"version": JSON_VERSION, "class": kind, "arguments": MODELS[kind][1](model)}


def save(
    path: Path,
    model: nn.Module,
    encoding: Encoding,
    *,
    config: Mapping[str, Any],
    history: History,
    metrics: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a run folder, whole or not at all.

    Args:
        model: one of `MODELS`. Weights that it computes from others are written as what they are now.
        config: options, in values that TOML knows.
        metrics: results, in values that JSON knows.
        overwrite: whether a run that is there is replaced.

    Raises:
        ValueError: something else is at `path`.
        TypeError: a model of another class.
        OSError: the folder cannot be written.
    """
    import tomli_w
    from safetensors.torch import save as to_safetensors

    check_free(path, overwrite)
    model = settled(model)
    architecture = describe(model)
    weights = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    contents: dict[str, bytes | str] = {
        "config.toml": tomli_w.dumps(dict(config)),
        "model.json": _json(architecture),
        "model.safetensors": to_safetensors(weights, metadata={"format": "pt"}),
        "vocabulary.json": _json(encoding.to_json()),
        "metrics.json": _json(metrics),
    }
    try:
        with new_folder(path) as folder:
            for name, content in contents.items():
                write_atomically(folder / name, content)
            history.to_csv(folder / "metrics.csv")
            write_checksums(folder, FILES)
    except OSError as error:
        raise not_written(error, path, "a run", sum(map(len, contents.values()))) from error


def _json(value: Any) -> str:
    return visible(json.dumps(value, indent=2, ensure_ascii=False)) + "\n"


def load(path: str | os.PathLike[str], *, cell: CellFactory | None = None) -> Run:
    """The run that `throughtime train` wrote.

    Args: cell: the class or function that made the cells of a model of such; a folder tells its name, which is never imported.

    Raises:
        ValueError: there is no folder, it is not a run, a file of it is missing or wrong, or the cell is not that of the
            model; the message names it.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path}: expected a run folder, found {'a file' if path.exists() else 'no such folder'}")
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        kind = "not a run" if len(missing) == len(FILES) else "an incomplete run"
        raise ValueError(f"{path}: expected a run folder, found {kind}: {', '.join(missing)} missing")
    check_checksums(path, FILES)
    try:
        encoding = Encoding.from_json(_read_json(path / "vocabulary.json"))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / 'vocabulary.json'}: {error}") from error
    _, config = read_toml(path / "config.toml")
    metrics = _read_json(path / "metrics.json")
    if not isinstance(metrics, dict):
        raise ValueError(f"{path / 'metrics.json'}: expected an object, found {type(metrics).__name__}")
    model = load_model(path, cell=cell)
    found = getattr(model, "n", None), getattr(model, "k", None)
    if found != (encoding.n, encoding.k):
        raise ValueError(
            f"{path}: expected model.json and vocabulary.json to agree on n and k, found {found} and {encoding.n, encoding.k}"
        )
    return Run(path, model, encoding, config, metrics)


def load_model(folder: Path, *, finite: bool = True, cell: CellFactory | None = None) -> nn.Module:
    """The model of model.json and model.safetensors in a folder, in evaluation mode.

    Args:
        finite: False: weights that are NaN or infinite are taken, too, as a black box has them.
        cell: as in `load`.

    Raises: OSError, ValueError: a file is missing or wrong; the message names it.
    """
    path = folder / "model.json"
    return _load_weights(folder / "model.safetensors", lambda size: _build(path, size, cell), finite).eval()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, found: {error}") from error


def _build(path: Path, size: int, cell: CellFactory | None) -> nn.Module:
    """The model that model.json describes; `size` bytes of weights are there for it. Without memory for its weights, but with
    the constants that the cells of a user hold."""
    described = _read_json(path)
    if not isinstance(described, dict) or described.get("version") != JSON_VERSION:
        found = described.get("version") if isinstance(described, dict) else type(described).__name__
        raise ValueError(f"{path}: expected an object of version {JSON_VERSION}, found {found!r}")
    kind, arguments = described.get("class"), described.get("arguments")
    if not isinstance(kind, str) or kind not in MODELS:
        raise ValueError(f"{path}: class: expected one of {', '.join(MODELS)}, found {kind!r}")
    if not isinstance(arguments, dict):
        raise ValueError(f"{path}: arguments: expected an object, found {type(arguments).__name__}")
    for name, value in arguments.items():  # each of them costs at least a byte of weights
        if isinstance(value, int) and not 0 <= value <= size:
            raise ValueError(f"{path}: {name}: expected a size that {size} bytes of weights allow, found {value}")
    _check_cell(path, arguments.get("cell", "elman"), cell)
    if cell is not None:
        arguments["cell"] = cell
    try:
        with torch.device("meta"):
            model = MODELS[kind][0](**arguments)
        if cell is None:
            return model
        if (needed := sum(p.nbytes for p in model.parameters())) > size:
            raise ValueError(f"expected weights of {needed} bytes for these arguments, found {size}")
        with torch.random.fork_rng(devices=[]):
            return MODELS[kind][0](**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _check_cell(path: Path, name: Any, cell: CellFactory | None) -> None:
    """Check that a cell is given where the model has one of a user's, and has its name; the module may have moved."""
    built_in = not isinstance(name, str) or ":" not in name  # what is no name at all, the model itself refuses
    if built_in and cell is not None:
        raise ValueError(f"{path}: cell: expected none for a model of {name!r}, found {cell_name(cell)}")
    if not built_in and cell is None:
        raise ValueError(f"{path}: cell: expected {name} to be given, as a model of its own cell needs, found none")
    if cell is not None and cell_name(cell).partition(":")[2] != name.partition(":")[2]:
        raise ValueError(f"{path}: cell: expected {name}, found {cell_name(cell)}")


def _load_weights(path: Path, build: Callable[[int], nn.Module], finite: bool) -> nn.Module:
    """The model with the weights of a safetensors file, which must have its names and shapes."""
    content = path.read_bytes()
    tensors = read_tensors(path, content)
    model = build(len(content))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in [*expected, *(tensors.keys() - expected.keys())]:
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != expected.get(name):
            raise ValueError(f"{path}: {name}: expected shape {expected.get(name)}, found {found}")
        if tensors[name].dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{path}: {name}: expected float32 or float64, found {tensors[name].dtype}")
        if finite and not tensors[name].isfinite().all():
            raise ValueError(f"{path}: {name}: expected finite numbers, found NaN or infinity")
    dtypes = sorted({str(value.dtype) for value in tensors.values()})
    if len(dtypes) > 1:
        raise ValueError(f"{path}: expected one dtype, found {' and '.join(dtypes)}")
    model.load_state_dict(tensors, assign=True)
    return model
