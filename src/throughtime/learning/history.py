"""What happened in each epoch."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.data.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, float]


@dataclass(repr=False)
class History:
    """One row per epoch.

    Attributes:
        rows: dicts with `epoch` (from 1), `train_loss` and `valid_loss` (nats per step that counts; squared error per step for
            a forecast), `valid_accuracy`, `gradient_norm` (mean over the updates, before clipping), `seconds`. Values that do
            not apply are missing; a watcher may add its own.
        stopped_early: whether `patience` ran out or a callback stopped the training.
    """

    rows: list[Row] = field(default_factory=list)
    stopped_early: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> list[float]:
        """One column, such as `history["train_loss"]`."""
        return [row[name] for row in self.rows]

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss (training loss where there is no validation)."""
        name = "valid_loss" if self.rows and "valid_loss" in self.rows[0] else "train_loss"
        return int(min(self.rows, key=lambda row: row[name])["epoch"])

    def __repr__(self) -> str:
        if not self.rows:
            return "History(no epochs)"
        best = next(row for row in self.rows if row["epoch"] == self.best_epoch)
        shown = (name for name in ("train_loss", "valid_loss", "valid_accuracy") if name in best)
        values = ", ".join(f"{name} {best[name]:.4g}" for name in shown)
        stopped = "; stopped early" if self.stopped_early else ""
        return f"History({len(self)} epoch{'s' * (len(self) > 1)}; best {self.best_epoch}: {values}{stopped})"

    def to_frame(self) -> Any:
        """The rows as a data frame, of polars where that is installed, else of pandas.

        Raises: ImportError: neither is.
        """
        columns = {name: [row.get(name) for row in self.rows] for row in self.rows for name in row}
        for package in ("polars", "pandas"):
            if find_spec(package) is not None:
                return import_module(package).DataFrame(columns)
        raise ImportError("to_frame: expected the package polars or pandas, neither of which is installed")

    def plot(self) -> Figure:
        """Loss, and accuracy where there is one, by epoch, as a matplotlib `Figure`.

        Raises: ValueError: there are no rows; ImportError: matplotlib is not installed.
        """
        from throughtime.learning.curves import learning_curve

        if not self.rows:
            raise ValueError("history: expected at least one epoch, found none")
        return learning_curve(self)

    def _repr_png_(self) -> bytes | None:
        """The picture that a notebook shows; None without epochs or matplotlib."""
        from throughtime.learning.curves import as_png

        return as_png(self.plot) if self.rows and find_spec("matplotlib") is not None else None

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as a CSV file with a header."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(path, text.getvalue())
