"""The options of `throughtime train`: one dataclass, filled by flags and by a TOML file."""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import Group, Parameter, Token

DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
LEARNING = Group("Learning", sort_key=3)
RUN = Group("Run", sort_key=4)

Engine = Literal["auto", "native", "reference"]


def whole(hint: Any, tokens: tuple[Token, ...]) -> int | str:
    """A whole number, or one of the words that `hint` allows: cyclopts would round 3.5 to 4."""
    found = tokens[0].value
    words = [word for part in get_args(hint) for word in get_args(part)]
    if found in words:
        return found
    try:
        return int(found)
    except ValueError:
        raise ValueError(f"expected {' or '.join(['a whole number', *words])}, found {found!r}") from None


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """Everything that can be chosen about a training."""

    source: Annotated[str, Parameter(group=DATA)] = "python-source"
    """What to learn: a built-in source (python-source, digits, pydoc-topics)."""
    _: KW_ONLY
    task: Annotated[Literal["tag", "classify", "lm", "forecast"] | None, Parameter(group=DATA)] = None
    """What to predict; found from the data where it is plain."""

    states: Annotated[int, Parameter(group=MODEL, converter=whole)] = 128
    """Number d of states."""
    nonlinearity: Annotated[Literal["tanh", "relu", "logistic", "identity"], Parameter(group=MODEL)] = "tanh"
    """σ of the states."""
    initialization: Annotated[Literal["uniform", "orthogonal"], Parameter(group=MODEL)] = "orthogonal"
    """How the parameters are drawn."""
    initial_state: Annotated[Literal["zero", "learned"], Parameter(group=MODEL)] = "zero"
    """What a sequence starts from."""

    optimizer: Annotated[Literal["gd", "sgd", "momentum", "rmsprop", "adam", "adamw"], Parameter(group=LEARNING)] = (
        "adam"
    )
    """How the parameters are updated; gd is gradient descent on the full batch."""
    lr: Annotated[float | None, Parameter(group=LEARNING)] = None
    """Learning rate η; the optimizer's own default where left out."""
    lr_schedule: Annotated[Literal["constant", "cosine"], Parameter(group=LEARNING)] = "cosine"
    """How the learning rate goes on: constant, or falling to 0 along half a cosine."""
    epochs: Annotated[int, Parameter(group=LEARNING, converter=whole)] = 10
    """Passes over the training part."""
    batch_size: Annotated[int | None, Parameter(group=LEARNING, converter=whole)] = None
    """Sequences computed side by side; 32, or all of them for gd."""
    truncate: Annotated[int | Literal["auto", "none"], Parameter(group=LEARNING, converter=whole)] = "auto"
    """Steps after which the gradient is cut and the state carried on; auto: 200 for sequences of over 1000 steps."""
    clip_norm: Annotated[float | Literal["auto", "none"], Parameter(group=LEARNING)] = "auto"
    """Greatest norm of the gradient; auto: 1, and none for gd."""
    reduction: Annotated[Literal["sequence", "token"], Parameter(group=LEARNING)] = "sequence"
    """Loss summed over the steps of a sequence, or averaged over all steps."""
    patience: Annotated[int | None, Parameter(group=LEARNING, converter=whole)] = None
    """Stop after so many epochs without a lower loss on the valid part, and keep the best weights."""
    seed: Annotated[int, Parameter(group=LEARNING, converter=whole)] = 0
    """Of the initial parameters and the shuffling."""
    engine: Annotated[Engine, Parameter(group=LEARNING)] = "auto"
    """Who computes the recurrence."""

    out: Annotated[Path | None, Parameter(group=RUN)] = None
    """The run folder to write; runs/SOURCE, or the next free runs/SOURCE-2, … where left out."""
    overwrite: Annotated[bool, Parameter(group=RUN, negative=())] = False
    """Replace the run that is in the folder."""
    config: Annotated[Path | None, Parameter(group=RUN)] = None
    """A TOML file of these options; those on the command line come first."""

    def resolved(self) -> dict[str, Any]:
        """What a run folder's config.toml holds: every choice that bears on the result, without those left open."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None and name not in ("out", "overwrite", "config")
        }


DEFAULTS = TrainOptions()
