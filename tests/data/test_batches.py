# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportArgumentType=false
import numpy as np
import pytest
import torch

from throughtime.data import Sequences
from throughtime.data.batches import collate, schedule

RAGGED = np.random.default_rng(1).integers(1, 60, 101)


def symbols(lengths):
    """Sequences whose every step is a symbol of its own, labelled with twice its number."""
    cuts = np.cumsum(lengths)[:-1]
    x = np.split(np.arange(sum(lengths)), cuts)
    return Sequences.from_arrays(x, [2 * piece for piece in x])


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(getattr(p, field), getattr(q, field))
        for p, q in zip(a, b, strict=True)
        for field in ("lanes", "rows", "starts", "lengths")
    )


@pytest.mark.parametrize("lengths", [RAGGED, [1], [17, 3, 100]])
@pytest.mark.parametrize("batch_size", [1, 3, 17, 1000])
@pytest.mark.parametrize("truncate", [None, 1, 7, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_step_once_and_within_the_limits(lengths, batch_size, truncate, shuffle):
    lengths = np.asarray(lengths)
    seen = []
    for window in schedule(lengths, batch_size, truncate=truncate, shuffle=shuffle):
        assert len(window.rows) <= batch_size
        assert len(set(window.lanes.tolist())) == len(window.lanes)
        assert all(getattr(window, field).dtype == np.int64 for field in ("lanes", "rows", "starts", "lengths"))
        assert window.lengths.min() >= 1
        assert truncate is None or window.lengths.max() <= truncate
        for row, start, length in zip(window.rows, window.starts, window.lengths, strict=True):
            seen += [(row, step) for step in range(start, start + length)]
    assert sorted(seen) == [(row, step) for row, length in enumerate(lengths) for step in range(length)]


@pytest.mark.parametrize("truncate", [None, 7, 1 << 64])
def test_numbers_beyond_all_lengths_say_the_same_as_all(truncate):
    longest = None if truncate is None else min(truncate, int(RAGGED.max()))
    assert same(schedule(RAGGED, 1 << 70, truncate=truncate), schedule(RAGGED, len(RAGGED), truncate=longest))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_lane_walks_each_sequence_from_its_start_without_a_gap(shuffle):
    reached = {}  # lane -> (row, next step)
    for window in schedule(RAGGED, 8, truncate=7, shuffle=shuffle):
        for lane, row, start, length in zip(window.lanes, window.rows, window.starts, window.lengths, strict=True):
            if start:
                assert reached[lane] == (row, start)
            elif lane in reached:
                assert reached[lane][1] == RAGGED[reached[lane][0]]
            reached[lane] = (row, start + length)


def test_lanes_end_about_together():
    windows = schedule(RAGGED, 8, truncate=7)
    assert sum(len(window.rows) for window in windows) / len(windows) > 7


@pytest.mark.parametrize("truncate", [None, 7])
def test_the_order_depends_on_seed_and_epoch_alone(truncate):
    def order(**arguments):
        return schedule(RAGGED, 8, truncate=truncate, **arguments)

    assert same(order(seed=3, epoch=2), order(seed=3, epoch=2))
    assert not same(order(seed=3, epoch=2), order(seed=3, epoch=3))
    assert not same(order(seed=3, epoch=2), order(seed=4, epoch=2))
    assert same(order(seed=3, shuffle=False), order(seed=4, shuffle=False))


def test_buckets_hold_little_padding_and_change_from_epoch_to_epoch():
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    windows = schedule(lengths, 32)
    padded = sum(len(window.rows) * window.lengths.max() for window in windows)
    assert padded / lengths.sum() < 1.05
    unbucketed = schedule(lengths, 32, bucket=False)
    assert sum(len(window.rows) * window.lengths.max() for window in unbucketed) / lengths.sum() > 1.8
    together = [{frozenset(window.rows.tolist()) for window in schedule(lengths, 32, epoch=epoch)} for epoch in (0, 1)]
    assert not together[0] & together[1]
    order = [window.lengths.max() for window in windows]
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.3


@pytest.mark.parametrize(
    ("lengths", "arguments", "message"),
    [
        ([], {}, "lengths: expected at least one, each 1 or more, found"),
        ([3, 0], {}, r"lengths: expected at least one, each 1 or more, found \[3, 0\]"),
        ([3], {"batch_size": 0}, "batch_size: expected at least 1, found 0"),
        ([3], {"truncate": 0}, "truncate: expected at least 1, found 0"),
    ],
)
def test_bad_arguments(lengths, arguments, message):
    with pytest.raises(ValueError, match=message):
        schedule(lengths, **{"batch_size": 2, **arguments})


@pytest.mark.parametrize("truncate", [None, 7])
def test_collate_agrees_with_a_loop(truncate):
    part = symbols(RAGGED)
    for window in schedule(part.lengths, 8, truncate=truncate):
        batch = collate(part, window)
        T = max(window.lengths)
        x, y = torch.zeros(len(window.rows), T, dtype=torch.int64), torch.full((len(window.rows), T), -100)
        for b, (row, start, length) in enumerate(zip(window.rows, window.starts, window.lengths, strict=True)):
            x[b, :length] = torch.from_numpy(part.inputs[row][start : start + length])
            y[b, :length] = torch.from_numpy(part.targets[row][start : start + length])
        assert torch.equal(batch.x, x)
        assert torch.equal(batch.y, y)
        assert batch.lengths.tolist() == window.lengths.tolist()
        assert batch.lanes.tolist() == window.lanes.tolist()
        assert batch.fresh.tolist() == [start == 0 for start in window.starts]


def test_collate_features_and_values():
    part = Sequences.from_arrays([np.ones((2, 3)), np.ones((1, 3))], [[1.0, 2.0], [3.0]])
    [window] = schedule(part.lengths, 2)
    batch = collate(part, window)
    assert batch.x.shape == (2, 2, 3)
    assert batch.x[1, 1].tolist() == [0, 0, 0]
    assert batch.y.shape == (2, 2, 1)
    assert batch.y[0].tolist() == [[1], [2]]
    assert batch.y[1, 0].item() == 3
    assert batch.y[1, 1].isnan().item()


def test_a_label_of_a_sequence_comes_with_its_last_window():
    part = Sequences.from_arrays([[1, 2, 3], [4, 5]], [7, 8])
    labels = [collate(part, window).y.tolist() for window in schedule(part.lengths, 2, truncate=2, shuffle=False)]
    assert labels == [[-100, 8], [7]]
    assert collate(Sequences.from_arrays([[1]]), schedule([1], 1)[0]).y is None


def test_a_batch_shares_no_memory_with_the_data():
    part = Sequences.from_arrays([[1, 2, 3]], [7])
    [window] = schedule(part.lengths, 1)
    batch = collate(part, window)
    batch.x.zero_()
    batch.y.zero_()
    batch.lengths.zero_()
    assert (part.x.tolist(), part.y.tolist(), window.lengths.tolist()) == ([1, 2, 3], [7], [3])


def test_a_lane_does_not_always_begin_with_its_longest():
    first = {schedule([1000, 1, 1, 1], 1, truncate=1000, epoch=epoch)[0].rows[0] for epoch in range(40)}
    assert first == {0, 1, 2, 3}


def test_sequences_of_a_lane_have_other_mates_in_each_epoch():
    """Also where no two are of one length."""

    def dealt(epoch):
        lanes = {}
        for window in schedule(range(10, 50), 4, truncate=1000, epoch=epoch):
            for lane, row in zip(window.lanes.tolist(), window.rows.tolist(), strict=True):
                lanes.setdefault(lane, set()).add(row)
        return frozenset(map(frozenset, lanes.values()))

    assert len({dealt(epoch) for epoch in range(10)}) == 10
