"""One vector of all states, and words with columns and characters, beside the same things done row by row."""

from __future__ import annotations

import pytest
import torch
from problems import assert_close as close

import throughtime as tt
from throughtime.models.sequence_model import SequenceModel
from throughtime.models.word_encoder import WordEncoder

LENGTHS = [4, 1, 7]


def assert_close(found: torch.Tensor, expected: torch.Tensor, msg: str = "") -> None:
    close(found, expected, 1e-12, msg)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def by_hand(model: SequenceModel, x: torch.Tensor) -> torch.Tensor:
    """What the readout says of one sequence x [T, n]."""
    states, final = model.rnn(x.unsqueeze(0))
    s = states[0]
    if model.read == "last":
        vector = torch.cat(list(final[-model.directions :, 0]))
    elif model.read == "mean":
        vector = torch.stack(list(s)).sum(0) / len(s)
    else:
        assert model.query is not None
        scores = torch.stack([(model.query.weight[0] * row).sum() for row in s]).exp()
        vector = sum(score * row for score, row in zip(scores / scores.sum(), s, strict=True))
    return model.readout.weight @ vector + model.readout.bias


@pytest.mark.parametrize("task", ["classify", "regress"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("read", ["last", "mean", "attention"])
def test_every_way_to_read_is_its_formula(read, bidirectional, task):
    model = SequenceModel(2, 5, 3, read=read, bidirectional=bidirectional, task=task, dtype=torch.float64)
    x = torch.randn(3, 7, 2, dtype=torch.float64)
    expected = torch.stack([by_hand(model, row[:length]) for row, length in zip(x, LENGTHS, strict=True)])
    given = x.clone()
    given[torch.arange(7) >= torch.tensor(LENGTHS).unsqueeze(1)] = torch.nan
    assert_close(model(given, torch.tensor(LENGTHS)), expected)
    weights = torch.randn(3, 3, dtype=torch.float64)
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad((model(x, torch.tensor(LENGTHS)) * weights).sum(), parameters)
    wanted = torch.autograd.grad((expected * weights).sum(), parameters)
    for name, one, other in zip(names, found, wanted, strict=True):
        assert_close(one, other, msg=name)
    assert_close(model.to_torch()(x, torch.tensor(LENGTHS)), expected)


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("read", ["mean", "attention"])
def test_the_paths_of_a_loss_that_reads_all_states_add_up(read, direction):
    model = SequenceModel(2, 4, 3, read=read, bidirectional=True, layers=2, task="classify", dtype=torch.float64)
    x, y, lengths = torch.randn(3, 7, 2, dtype=torch.float64), torch.tensor([0, 2, 1]), torch.tensor(LENGTHS)
    model.loss(x, y, lengths).backward()
    for layer in (0, 1):
        weight = getattr(model.rnn, f"weight_hh_l{layer}{'_reverse' if direction else ''}")
        found = tt.anatomy(model, x, y, lengths, layer=layer, direction=direction)  # checks that its paths sum to this
        assert_close(found.unrolled.gradient["W"], weight.grad)
        assert found.residual < 1e-12


def a_tagger(**options) -> SequenceModel:
    return SequenceModel(
        6, 5, 3, embedding=4, columns=[3], alphabet=5, characters=6, bidirectional=True, dtype=torch.float64, **options
    )


def a_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    spellings = torch.tensor([[1, 2, 3, 0], [5, 0, 0, 0], [4, 4, 1, 2]])
    words = torch.tensor([[0, 1, 2, 0], [3, 4, 5, 1], [2, 2, 2, 2]])
    columns = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 1], [1, 1, 2, 2]])
    spelt = spellings[torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2], [2, 0, 1, 1]])]
    x = torch.cat([words.unsqueeze(-1), columns.unsqueeze(-1), spelt], -1)
    return x, torch.randint(3, (3, 4)), torch.tensor([4, 2, 3])


def test_a_word_is_its_row_its_column_and_its_characters():
    model = a_tagger()
    encoder = model.embedding
    assert isinstance(encoder, WordEncoder)
    assert encoder.spelling is not None
    assert encoder.characters is not None
    x, _, _ = a_batch()
    found = encoder(x)
    for i in range(3):
        for t in range(4):
            word, column, *letters = x[i, t].tolist()
            letters = torch.tensor([letter for letter in letters if letter])
            _, final = encoder.spelling(encoder.characters(letters).unsqueeze(0))
            expected = torch.cat(
                [encoder.words.weight[word], encoder.columns[0].weight[column], final[0, 0], final[1, 0]]
            )
            assert_close(found[i, t], expected)
    assert found.shape[-1] == encoder.embedding_dim == model.rnn.input_size


def test_padding_of_words_is_never_read():
    model, (x, y, lengths) = a_tagger(), a_batch()
    expected = model.loss(x, y, lengths)
    expected.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    poisoned = x.clone()
    poisoned[torch.arange(4) >= lengths.unsqueeze(1)] = 99
    found = model.loss(poisoned, y, lengths)
    found.backward()
    assert_close(found, expected)
    for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert_close(p.grad, gradient, msg=name)


def test_words_that_do_not_fit_are_refused():
    model, (x, y, _) = a_tagger(), a_batch()
    with pytest.raises(ValueError, match=r"x: expected integers \[B, T, 3 columns or more\], found shape \[3, 4, 2\]"):
        model.loss(x[..., :2], y)
    for column, size in ((0, 6), (1, 3), (4, 6)):
        wrong = x.clone()
        wrong[1, 2, column] = size
        with pytest.raises(ValueError, match=f"row 1, step 2, column {column}: expected 0 to {size - 1}, found {size}"):
            model.loss(wrong, y)
    with pytest.raises(ValueError, match="embedding: expected a size"):
        SequenceModel(6, 5, 3, alphabet=5)
    with pytest.raises(ValueError, match="characters: expected an even size"):
        SequenceModel(6, 5, 3, embedding=4, alphabet=5, characters=7)
    with pytest.raises(TypeError, match="embedding: expected a plain Embedding, found WordEncoder"):
        model.to_torch()


def test_dropout_is_of_the_training_alone():
    x, y = torch.randn(4, 6, 2, dtype=torch.float64), torch.randint(3, (4, 6))
    plain = SequenceModel(2, 5, 3, dtype=torch.float64)
    model = SequenceModel(2, 5, 3, input_dropout=0.4, readout_dropout=0.4, dtype=torch.float64)
    model.load_state_dict(plain.state_dict())
    assert_close(model.eval().loss(x, y), plain.loss(x, y))
    model.train()
    losses = {model.loss(x, y).item() for _ in range(3)}
    assert len(losses) == 3
    with pytest.raises(ValueError, match="readout_dropout: expected a share of 0 or more and below 1, found 1"):
        SequenceModel(2, 5, 3, readout_dropout=1.0)
