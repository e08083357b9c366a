"""What happened in each epoch."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.data.files import write_atomically

Row = dict[str, float]


@dataclass
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

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as a CSV file with a header."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(path, text.getvalue())
