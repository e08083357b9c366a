"""The options of `throughtime train`: one dataclass, filled by flags and by a TOML file; and those about reading alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter, Token

from throughtime.untrusted.showing import did_you_mean, short

DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
LEARNING = Group("Learning", sort_key=3)
FORECAST = Group("Forecast", sort_key=4)
RUN = Group("Run", sort_key=5)


LIMIT = 1 << 63


def whole(hint: Any, tokens: tuple[Token, ...]) -> int | str:
    """A whole number, or one of the words that `hint` allows: cyclopts would round 3.5 to 4."""
    found = tokens[0].value
    words = [word for part in get_args(hint) for word in get_args(part)]
    if found in words:
        return found
    try:
        number = int(found)
    except ValueError:  # also one of thousands of digits
        raise ValueError(f"expected {' or '.join(['a whole number', *words])}, found {short(found)!r}") from None
    if not -LIMIT <= number < LIMIT:
        raise ValueError(f"expected {' or '.join(['a whole number of 64 bits', *words])}, found {short(found)}")
    return number


Whole = Annotated[int, Parameter(converter=whole)]
Horizon = Annotated[int, Parameter(group=FORECAST, converter=whole)]
Season = Annotated[int | None, Parameter(group=FORECAST, converter=whole)]


def a_cell(_hint: Any, tokens: tuple[Token, ...]) -> str:
    """The name of a built-in cell, or package.module:Class."""
    found = tokens[0].value
    if found not in CELLS and not is_own_cell(found):
        meant = did_you_mean(found, CELLS)
        hint = "" if meant is None else f'. Did you mean "{meant}"?'
        raise ValueError(f"expected {', '.join(CELLS)} or package.module:Class, found {short(found)!r}{hint}")
    return found


def is_own_cell(name: str) -> bool:
    """Whether it names a cell of the user's, package.module:Class."""
    module, colon, path = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *path.split(".")))


BuiltIn = Literal["elman", "lstm", "gru"]
CELLS = get_args(BuiltIn)
"""The built-in cells by name."""

OwnCell = Annotated[str | None, Parameter(converter=a_cell)]


Json = Annotated[bool, Parameter(negative=())]
Quiet = Annotated[bool, Parameter(negative=())]


def names(hint: Any, tokens: tuple[Token, ...]) -> tuple[str, ...]:
    """Names between commas; those of a TOML file, which has lists, as they are."""
    return tuple(
        name for token in tokens for name in (token.value.split(",") if token.source == "cli" else [token.value])
    )


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """A source, and how it is read."""

    source: Annotated[str | None, Parameter(group=DATA)] = None
    """python-source, digits, pydoc-topics, or a file or folder; - is standard input."""
    _: KW_ONLY
    format: Annotated[str | None, Parameter(group=DATA)] = None
    """parquet, npz, npy, arff, ts, fasta, fasttext, json, conllu, conll, slashes, csv, tsv, text or folder; recognised."""
    encoding: Annotated[str | None, Parameter(group=DATA)] = None
    """What text is written in: latin-1, utf-16 and so on; UTF-8 where left out."""
    column: Annotated[str | None, Parameter(group=DATA)] = None
    """CoNLL: the column with the labels, by name or number."""
    inputs: Annotated[tuple[str, ...] | None, Parameter(group=DATA, converter=names, negative=())] = None
    """CoNLL: the column with the words, by name or number; several between commas."""
    units: Annotated[Literal["characters", "words"] | None, Parameter(group=DATA)] = None
    """Texts: what their symbols are."""
    rows: Annotated[Literal["steps", "sequences"] | None, Parameter(group=DATA)] = None
    """Tables: what a row is; where stated, columns that are not named are not guessed."""
    header: Annotated[bool | None, Parameter(group=DATA)] = None
    """Tables: whether the first line has the names of the columns; without one they are 1, 2 and so on."""
    id: Annotated[str | None, Parameter(group=DATA)] = None
    """Tables: the column that tells the sequences apart."""
    time: Annotated[tuple[str, ...] | None, Parameter(group=DATA, converter=names, negative=())] = None
    """Tables: the column that orders the steps of a sequence; several between commas, such as a date and a time."""
    sort: Annotated[bool | None, Parameter(group=DATA, negative=())] = None
    """Tables: put the rows of a sequence together, in the order of time."""
    features: Annotated[tuple[str, ...] | None, Parameter(group=DATA, converter=names, negative=())] = None
    """Tables: the columns to predict from, between commas."""
    target: Annotated[tuple[str, ...] | None, Parameter(group=DATA, converter=names, negative=())] = None
    """Tables: the column to predict; several between commas for a forecast."""
    missing: Annotated[tuple[str, ...] | None, Parameter(group=DATA, converter=names, negative=())] = None
    """Further cells that stand for a missing number, such as -200; besides an empty one, NA, NaN and ?."""
    fill: Annotated[Literal["last", "mean"] | None, Parameter(group=DATA)] = None
    """What stands for a missing number, beside an input that says so: the last value known, or the training's mean."""

    def given(self) -> dict[str, Any]:
        """What was said about the reading, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(DataOptions) if field.name != "source"}
        return {name: value for name, value in values.items() if value is not None}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SourceOptions(DataOptions):
    """What to learn from, and what is held out; without a source, python-source."""

    task: Annotated[Literal["tag", "classify", "lm", "forecast"] | None, Parameter(group=DATA)] = None
    """What to predict; found from the data where it is plain."""
    valid: Annotated[str | None, Parameter(group=DATA)] = None
    """A source that tells after each epoch how well it goes."""
    test: Annotated[str | None, Parameter(group=DATA)] = None
    """A source that the finished model is measured on."""
    split: Annotated[tuple[float, float] | None, Parameter(group=DATA, negative=())] = None
    """Shares of the sequences held out as valid and test; 0.1 0.1 where neither of these is given."""
    split_by: Annotated[Literal["time", "sequence", "class", "group"] | None, Parameter(group=DATA)] = None
    """Hold out the end of each sequence, sequences, as many of each class, or groups; what suits the data where left out."""
    group: Annotated[str | None, Parameter(group=DATA)] = None
    """Tables: the column with what must not be both learnt and held out, such as a person."""
    deduplicate: Annotated[bool, Parameter(group=DATA)] = False
    """Keep a sequence that occurs several times once: held out rather than learnt."""
    shuffle: Annotated[bool | None, Parameter(group=DATA)] = None
    """Text: shuffle the lines before they are divided; where left out, those in alphabetical order."""
    seed: Annotated[int, Parameter(group=DATA, converter=whole)] = 0
    """Of what is held out; in a training, of the initial parameters and the shuffling, too."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainOptions(SourceOptions):
    """Everything that can be chosen about a training."""

    states: Annotated[int, Parameter(group=MODEL, converter=whole)] = 128
    """Number d of states."""
    cell: Annotated[BuiltIn | str, Parameter(group=MODEL, converter=a_cell)] = "elman"
    """What the recurrence is: elman, the textbook's; lstm or gru, with gates; or package.module:Class, a PyTorch module of your
    own (or of throughtime.cells) made as Class(inputs, states), to be given again to whatever reads the run."""
    nonlinearity: Annotated[Literal["tanh", "relu", "logistic", "identity"], Parameter(group=MODEL)] = "tanh"
    """σ of the states of an Elman recurrence."""
    initialization: Annotated[Literal["auto", "uniform", "orthogonal"], Parameter(group=MODEL)] = "auto"
    """How W is drawn; auto: orthogonal, to remember for longer, for characters and sequences of 50 steps, else uniform."""
    initial_state: Annotated[Literal["zero", "learned"], Parameter(group=MODEL)] = "zero"
    """What a sequence starts from."""
    embedding: Annotated[int | Literal["auto", "none"], Parameter(group=MODEL, converter=whole)] = "auto"
    """Size of a learned vector for each symbol; auto: 128 for words, none for characters."""
    layers: Annotated[int, Parameter(group=MODEL, converter=whole)] = 1
    """Recurrent layers on top of each other."""
    characters: Annotated[bool, Parameter(group=MODEL)] = False
    """Know a word by the characters that spell it, too: for labelled words, above all for those that the training never saw."""
    vectors: Annotated[str | None, Parameter(group=MODEL)] = None
    """A text file of pretrained vectors, as word2vec, GloVe and fastText write them (.gz, too), that the words start from."""
    freeze_vectors: Annotated[bool, Parameter(group=MODEL)] = False
    """Leave the vectors of --vectors as they are."""
    read: Annotated[Literal["last", "mean", "attention"], Parameter(group=MODEL)] = "mean"
    """What tells the label of a whole sequence: its last state, the mean of all, or a mean whose weights are learned."""
    bidirectional: Annotated[bool | None, Parameter(group=MODEL, negative=("--one-way", "--no-bidirectional"))] = None
    """Walk the sequences from their ends, too; where left out, for one label per sequence alone."""
    dropout: Annotated[float, Parameter(group=MODEL)] = 0.0
    """Share of the states between layers that is left out at random while training."""
    input_dropout: Annotated[float | Literal["auto"], Parameter(group=MODEL)] = "auto"
    """The same of what the first layer reads; auto: 0.3 for labelled words and for one label per sequence, else 0."""
    readout_dropout: Annotated[float | Literal["auto"], Parameter(group=MODEL)] = "auto"
    """The same of the states that the labels are read from."""

    optimizer: Annotated[Literal["gd", "sgd", "momentum", "rmsprop", "adam", "adamw"], Parameter(group=LEARNING)] = (
        "adam"
    )
    """How the parameters are updated; gd is gradient descent on the full batch."""
    lr: Annotated[float | None, Parameter(group=LEARNING)] = None
    """Learning rate η; where left out 0.003 for adam and adamw (0.006 of words), for the others their own default."""
    lr_schedule: Annotated[Literal["constant", "cosine"], Parameter(group=LEARNING)] = "cosine"
    """How the learning rate goes on: constant, or falling to 0 along half a cosine."""
    epochs: Annotated[int | Literal["auto"], Parameter(group=LEARNING, converter=whole)] = "auto"
    """Passes over the training part; auto: 10, and up to 200 of data that would make few updates."""
    batch_size: Annotated[int | None, Parameter(group=LEARNING, converter=whole)] = None
    """Sequences computed side by side; where left out 32 (a tenth, of few with one label each), and all of them for gd."""
    truncate: Annotated[int | Literal["auto", "none"], Parameter(group=LEARNING, converter=whole)] = "auto"
    """Steps after which the gradient is cut and the state carried on; auto: 200 for sequences of over 1000 steps."""
    clip_norm: Annotated[float | Literal["auto", "none"], Parameter(group=LEARNING)] = "auto"
    """Greatest norm of the gradient; auto: 1, and none for gd."""
    reduction: Annotated[Literal["sequence", "token"], Parameter(group=LEARNING)] = "sequence"
    """Loss summed over the steps of a sequence, or averaged over all steps."""
    class_weight: Annotated[Literal["balanced"] | None, Parameter(group=LEARNING)] = None
    """How much each label counts: all the same, or, balanced, all classes together the same, rare ones too."""
    patience: Annotated[int | None, Parameter(group=LEARNING, converter=whole)] = None
    """Stop after so many epochs without a lower loss on the valid part. The weights of the best epoch are kept either way."""
    engine: Annotated[Literal["auto", "native", "torch", "reference"], Parameter(group=LEARNING)] = "auto"
    """Who computes the recurrence."""
    on_nonfinite: Annotated[Literal["stop", "skip"], Parameter(group=LEARNING)] = "stop"
    """What to do about a loss or gradient that is NaN or infinite: stop, or leave that batch out."""
    watch: Annotated[bool, Parameter(group=LEARNING)] = False
    """Take the anatomy of one held-out stretch epoch by epoch: how far back its gradient reaches, and a picture of it."""

    horizon: Horizon = 1
    """Steps ahead that forecasts are measured for."""
    season: Season = None
    """Steps after which the series repeat themselves, for the seasonal naive forecast and seasonal changes."""
    predict: Annotated[Literal["auto", "level", "change", "seasonal-change"], Parameter(group=FORECAST)] = "auto"
    """What is learned of a series; auto: what a closed form does best on the valid part."""

    out: Annotated[Path | None, Parameter(group=RUN)] = None
    """The run folder to write; runs/SOURCE, or the next free runs/SOURCE-2, … where left out."""
    overwrite: Annotated[bool, Parameter(group=RUN, negative=())] = False
    """Replace the run that is in the folder."""
    checkpoint_every: Annotated[str, Parameter(group=RUN)] = "5min"
    """Updates (200) or time (30s, 5min, 1h) between checkpoints, which are in RUN.unfinished until the training has ended."""
    resume: Annotated[bool, Parameter(group=RUN, negative=())] = False
    """Go on from the last checkpoint of the run named by --out, with its options."""
    tensorboard: Annotated[Path | None, Parameter(group=RUN)] = None
    """A folder to write loss, learning rate and results to while it trains, for tensorboard --logdir."""
    json: Annotated[bool, Parameter(group=RUN, negative=())] = False
    """End with the results for machines, in place of tables."""
    quiet: Annotated[bool, Parameter(group=RUN, negative=())] = False
    """Say nothing but results and errors."""
    config: Annotated[Path | None, Parameter(group=RUN)] = None
    """A TOML file of these options; those on the command line come first."""

    def resolved(self) -> dict[str, Any]:
        """What a run folder's config.toml holds: every choice that bears on the result, without those left open."""
        return {name: value for name, value in asdict(self).items() if value is not None and name not in ABOUT_FILES}


ABOUT_FILES = ("out", "overwrite", "checkpoint_every", "resume", "tensorboard", "json", "quiet", "config")
"""Options that have no bearing on the result."""


def check_kinds(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Options that were kept in a file, with tuples for lists; names that are no options are left out.

    Raises: ValueError: a value that an option cannot have; names the option.
    """
    kinds = get_type_hints(TrainOptions)
    known = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items() if name in kinds
    }
    for name, value in known.items():
        if not _fits(value, kinds[name]):
            shown = f"{type(value).__name__} {value!r:.50}"
            raise ValueError(f"{where}: {name}: expected a value that the option can have, found the {shown}")
    return known


def _fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of a kind that the options have: a class, a Literal, a tuple or a union of those."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if get_origin(kind) is tuple:
        many = Ellipsis in parts
        return (
            isinstance(value, tuple)
            and (many or len(value) == len(parts))
            and all(_fits(item, parts[0]) for item in value)
        )
    if parts:
        return any(_fits(value, part) for part in parts)
    if isinstance(value, int) and not -LIMIT <= value < LIMIT:
        return False
    return type(value) is kind or (kind is float and type(value) is int)


NOWHERE = DataOptions()
ANYWHERE = SourceOptions()
DEFAULTS = TrainOptions()
