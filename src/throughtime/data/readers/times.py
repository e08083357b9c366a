"""Times as numbers: whole or not, dates in the ways they are written, several columns that make one time."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

DAYS = (
    *"%Y-%m-%d %Y/%m/%d %Y.%m.%d %d/%m/%Y %m/%d/%Y %d.%m.%Y %m.%d.%Y %d-%m-%Y %m-%d-%Y %d/%m/%y %m/%d/%y %d.%m.%y".split(),
    *"%d-%b-%Y %d-%b-%y".split(),
    *("%b %d %Y", "%b %d, %Y", "%d %b %Y", "%a %b %d %Y", "%B %d %Y", "%B %d, %Y", "%d %B %Y"),
)
MONTHS = ("%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%b %Y", "%B %Y", "%b-%y", "%b-%Y", "%Y %b", "%Y-%b", "%YM%m")
HOURS = ("%H:%M:%S%.f", "%H:%M", "%H.%M.%S", "%H.%M", "%I:%M:%S %p", "%I:%M %p")
OF_DAY = re.compile(
    r"(?P<gap>^|T|,? +)(?P<time>\d{1,2}(:\d\d){1,2}(?<=:\d\d)(\.\d+)?|\d{1,2}(\.\d\d){1,2})(?P<noon> ?[AaPp][Mm])?$"
)
DIGIT = re.compile(r"\d")
PARTS = ("year", "month", "day", "hour", "minute", "second")
"""Columns of these names make a time together."""
ZULU = r"\s*(?:Z|UTC|GMT)$"
TRIED = 200  # cells that are tried to find how times are written
GAP = 1.5  # of the usual step
SECONDS = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}


class Clock:
    """Reads the times of a table, in the way that those of its first rows are written.

    Attributes:
        dates: whether they are dates, in microseconds, rather than numbers.
    """

    def __init__(self) -> None:
        self.dates = False
        self._format: str | None = None
        self._begun = False

    def read(self, chunk: pl.DataFrame) -> np.ndarray:
        """Numbers in the order of the times, NaN where a cell is no time: int64 or float64 [rows]."""
        if chunk.width > 1 and all(name.lower() in PARTS for name in chunk.columns):
            self.dates = True
            return _of_parts({name.lower(): chunk[name] for name in chunk.columns})
        series = _joined(chunk)
        if series.dtype != pl.String:
            self.dates = series.dtype.is_temporal()
            return _physical(series)
        series = series.str.strip_chars()
        if not self._begun:
            self._begin(series)
        if self._format is not None:
            return _parse(series, self._format).to_numpy()
        whole = series.cast(pl.Int64, strict=False)
        return (whole if not whole.null_count() else series.cast(pl.Float64, strict=False)).to_numpy()

    def _begin(self, series: pl.Series) -> None:
        self._begun = True
        tried = series.drop_nulls()[:TRIED]
        if not tried.cast(pl.Float64, strict=False).null_count() and len(tried):
            return
        first = str(tried[0]) if len(tried) else ""
        found = (
            [form for form in _formats(first) if not _parse(tried, form).null_count()] if DIGIT.search(first) else []
        )
        if found:
            whole = series.drop_nulls()
            self._format = min(found, key=lambda form: _disorder(_parse(whole, form)))
            self.dates = True


def is_time(series: pl.Series) -> bool:
    """Whether cells are dates or times of day, rather than numbers or other words."""
    if series.dtype.is_temporal():
        return True
    if series.dtype != pl.String:
        return False
    clock = Clock()
    tried = series.str.strip_chars().drop_nulls()[:TRIED]
    return bool(len(tried)) and clock.read(tried.to_frame()) is not None and clock.dates


def describe_gaps(times: np.ndarray, same: np.ndarray, dates: bool) -> str | None:
    """A sentence about steps of time that are longer than the usual one; None: there are none, or no usual one.

    Args:
        times: [N] in the order of the steps.
        same: bool [N − 1], whether two neighbours are of one sequence.
    """
    steps = np.diff(times.astype(np.float64))[same]
    if len(steps) < 3:
        return None
    values, counts = np.unique(steps, return_counts=True)
    usual = float(values[counts.argmax()])
    gaps = steps > (2 if dates and usual >= 28 * 86400e6 else GAP) * usual
    if not gaps.any() or gaps.mean() > 0.5 or usual <= 0:
        return None
    longest = float(steps.max())
    how = "one step is" if gaps.sum() == 1 else f"{int(gaps.sum())} steps are"
    most = f", the longest {_told(longest, dates)}" if gaps.sum() > 1 else f": {_told(longest, dates)}"
    return f"gaps in time: {how} longer than the usual {_told(usual, dates)}{most}; they are read as neighbours"


def _told(step: float, dates: bool) -> str:
    if not dates:
        return f"{step:g}"
    seconds = round(step / 1e6, 6)
    whole = ((name, size) for name, size in SECONDS.items() if seconds >= size and seconds % size == 0)
    name, size = next(whole, ("day", 86400) if seconds > 86400 else ("second", 1))
    return f"{seconds / size:.6g} {name}{'' if seconds == size else 's'}"


def _joined(chunk: pl.DataFrame) -> pl.Series:
    """One column of the columns of a time."""
    if chunk.width == 1:
        return chunk.to_series()
    return chunk.select(pl.concat_str(pl.all().cast(pl.String).str.strip_chars(), separator=" ")).to_series()


def _physical(series: pl.Series) -> np.ndarray:
    if series.dtype == pl.Date:
        series = series.cast(pl.Datetime("us"))
    elif isinstance(series.dtype, pl.Datetime):
        series = series.dt.cast_time_unit("us")
    return series.to_physical().to_numpy()


def _of_parts(parts: dict[str, pl.Series]) -> np.ndarray:
    """Microseconds, from columns of years, months and so on."""
    numbers = {name: series.cast(pl.Float64, strict=False).to_numpy() for name, series in parts.items()}
    unknown = np.isnan(np.stack(list(numbers.values()))).any(0)
    whole = {name: np.nan_to_num(values).astype(np.int64) for name, values in numbers.items()}
    months = (whole.get("year", np.int64(1970)) - 1970) * 12 + whole.get("month", np.int64(1)) - 1
    days = np.asarray(months).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + whole.get("day", 1) - 1
    seconds = days * 86400 + sum(whole[name] * SECONDS[name] for name in ("hour", "minute", "second") if name in whole)
    return np.where(unknown, np.nan, seconds * 1e6)


def _formats(first: str) -> list[str]:
    """The ways of writing that a cell may be in."""
    zone = re.search(r"(\s?)(?:[+-]\d\d:?\d\d|Z|UTC|GMT)$", first) if ":" in first else None
    stem = first[: zone.start()] if zone else first
    hour = OF_DAY.search(stem)
    ends = [""]
    if hour:
        own = [
            form for form in HOURS if (":" in form) == (":" in hour["time"]) and ("%p" in form) == bool(hour["noon"])
        ]
        ends = [f"{hour['gap']}{form}{'%z' if zone else ''}" for form in own]
        ends += [""] if not hour["gap"].strip() else []  # the year at the end of a date
    years = "%Y" if re.search(r"\d{4}", stem) else "%y"
    of_day = [f"^{form}" for form in HOURS] if hour and not hour.start() and not hour["gap"] else []
    return (
        of_day
        + [day + end for day in DAYS if years in day for end in ends]
        + [f"{month}~" for month in MONTHS if years in month]
    )


def _parse(series: pl.Series, form: str) -> pl.Series:
    """Microseconds, null where a cell is not so written. "~": the day is the first of the month; "^": of an unknown day."""
    if form.endswith("~"):
        series, form = series + " 1", form[:-1] + " %d"
    elif form.startswith("^"):
        series, form = "1970-01-01 " + series, "%Y-%m-%d " + form[1:]
    elif form.endswith("%z"):
        series = series.str.replace(ZULU, "+00:00")
    try:
        return series.str.to_datetime(form, strict=False, time_unit="us").to_physical()
    except pl.exceptions.PolarsError:
        return pl.Series([None] * len(series), dtype=pl.Int64)


def _disorder(times: pl.Series) -> tuple[int, int, float, float]:
    """How unlike a walk in time: cells that are no times, steps back, unlike steps, and how long it takes."""
    steps = np.diff(times.drop_nulls().to_numpy())
    ahead = steps[steps > 0]
    unlike = float(ahead.max() / ahead.min()) if len(ahead) else 1.0
    return times.null_count(), int((steps < 0).sum()), unlike, float(ahead.sum())
