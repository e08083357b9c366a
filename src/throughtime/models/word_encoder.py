"""The vector of a step that has several symbols: a word, further columns, and the characters that spell the word.

    x_t  =  E_word[w_t]  ⊕  E_1[column 1]  ⊕ … ⊕  (s→ , s←)

E are learned tables, ⊕ puts side by side, and s→, s← are the final states of a small recurrent network that walks the word's
characters from both ends (Ling et al., 2015; Lample et al., 2016). A word that the training never saw is still known by how it
is spelt. The recurrence runs once for every distinct spelling of a batch.

A step is one row of integers: the word in 0..n−1, each further column in 0..its size−1, then the characters of the word, 1..the
alphabet's size, and 0 after its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from throughtime.core.notation import check_size, real_steps
from throughtime.nn import RNN

COLUMN = 32
"""Size of the vector of a symbol in a further column, and of a character's; less where a word's is smaller."""


class WordEncoder(nn.Module):
    """From rows of integers [..., 1 + columns + L] to vectors [..., m].

    Args:
        n: words.
        size: of a word's vector.
        columns: the number of symbols in each further column.
        alphabet: the number of characters; 0: spellings are not read, and L is 0.
        characters: size of the vector that a spelling becomes, half of it for each direction.
        dtype: of the parameters.

    Its parts are the torch.nn.Embeddings `words`, `columns` and `characters`, and the `tt.nn.RNN` `spelling`; the last two are
    None without an alphabet.
    """

    def __init__(
        self,
        n: int,
        size: int,
        *,
        columns: Sequence[int] = (),
        alphabet: int = 0,
        characters: int = 64,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        small = min(size, COLUMN)
        self.words = nn.Embedding(n, size, dtype=dtype)
        counts = [check_size("columns", count) for count in columns]
        self.columns = nn.ModuleList(nn.Embedding(count, small, dtype=dtype) for count in counts)
        self.embedding_dim = size + len(counts) * small
        self.alphabet = alphabet
        self.characters: nn.Embedding | None = None
        self.spelling: RNN | None = None
        if alphabet:
            if check_size("characters", characters) % 2:
                raise ValueError(f"characters: expected an even size, half for each direction, found {characters}")
            self.characters = nn.Embedding(alphabet + 1, min(characters, COLUMN), padding_idx=0, dtype=dtype)
            width = self.characters.embedding_dim
            self.spelling = RNN(width, characters // 2, batch_first=True, bidirectional=True, dtype=dtype)
            self.embedding_dim += characters

    @property
    def num_embeddings(self) -> int:
        """The number n of words."""
        return self.words.num_embeddings

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many symbols there are in the column of words and in each further one."""
        return self.num_embeddings, *(column.num_embeddings for column in self.columns)  # type: ignore[misc]

    def check(self, x: Tensor, lengths: Tensor | None) -> None:
        """Refuse integers [B, T, columns] of another width, or beyond the tables, in the steps that `lengths` leaves.

        Raises: ValueError: names the column and the step.
        """
        known = len(self.sizes)
        wanted = f"{known + 1} columns or more" if self.alphabet else f"{known} column{'s' * (known > 1)}"
        if x.dim() != 3 or (x.shape[2] <= known if self.alphabet else x.shape[2] != known):
            raise ValueError(f"x: expected integers [B, T, {wanted}], found shape {[*x.shape]}")
        real = real_steps(x.shape[1], lengths, x.device).unsqueeze(-1)
        limits = torch.tensor([*self.sizes, *[self.alphabet + 1] * (x.shape[2] - known)], device=x.device)
        bad = ((x < 0) | (x >= limits)) & real
        if bad.any():
            row, step, column = (int(i) for i in bad.nonzero()[0])
            raise ValueError(
                f"x in row {row}, step {step}, column {column}: expected 0 to {int(limits[column]) - 1}, "
                f"found {int(x[row, step, column])}"
            )

    def forward(self, x: Tensor) -> Tensor:
        known = len(self.sizes)
        parts = [self.words(x[..., 0])]
        parts += [table(x[..., i]) for i, table in enumerate(self.columns, 1)]
        if self.spelling is not None:
            parts.append(self._spelt(x[..., known:].flatten(0, -2)).unflatten(0, x.shape[:-1]))
        return torch.cat(parts, -1)

    def _spelt(self, spellings: Tensor) -> Tensor:
        """What the characters [N, L] of N words tell: [N, characters]."""
        assert self.spelling is not None
        assert self.characters is not None
        distinct, place = torch.unique(spellings, dim=0, return_inverse=True)
        lengths = (distinct != 0).sum(1).clamp_min(1)  # padding has no word; what is made of it is not read
        distinct = distinct[:, : int(lengths.max())]
        _, final = self.spelling(self.characters(distinct), None, lengths)
        return final.transpose(0, 1).flatten(1)[place]
