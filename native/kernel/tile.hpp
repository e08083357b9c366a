// Register tiles: the innermost loops, where the time is spent.
//
// A tile computes Rows x (Panels * Width) vectors of C = init + A B, with the sums in registers: per step of the
// inner dimension it loads one row of B and broadcasts one number of A per row.
//
// Every tile sums over k = 0, 1, 2, ... in that order, starting from init: an element of C has the same bits whichever tile
// computes it. That is what makes a row's states independent of its batch mates.
//
// B comes in panels of two vectors (one, at the right edge): element (k, j) of panel p is at b + p * panel + k * step + j.
#pragma once

#include <utility>

#include "vector.hpp"

namespace throughtime::THROUGHTIME_ISA {

inline constexpr Index tile_rows = THROUGHTIME_TILE_ROWS;
inline constexpr Index many_registers = THROUGHTIME_TILE_ROWS > 6;  // 32 vector registers, not 16

/// The right-hand side of a product: K rows, cut into panels of two vectors each.
template <class S>
struct Panels {
    const S* data;
    Index step;   // from row k to row k + 1
    Index panel;  // from a panel to the next
};

/// How the elements (i, k) of A lie.
enum class Left {
    rows,     // at a[i * lda + k]: C = init + A B
    columns,  // at a[i + k * lda]: C = init + A B, the product summed apart and then added
};

template <class S>
struct TileArguments {
    Index K;
    const S* a;
    Index lda;
    Panels<S> b;
    const S* init;  // row i at init + i * ldi
    Index ldi;
    S* c;
    Index ldc;
};

template <class S, Left Layout, int Rows, int Width, int Panels_>
[[gnu::noinline]] void tile(const TileArguments<S>& t) {
    constexpr int across = Width * Panels_;
    const Index K = t.K, lda = t.lda, ldc = t.ldc, step = t.b.step, panel = t.b.panel;
    S* const c = t.c;
    Vector<S> sum[Rows][across];
    THROUGHTIME_UNROLL
    for (int i = 0; i < Rows; ++i) {
        THROUGHTIME_UNROLL
        for (int j = 0; j < across; ++j) {
            const Index column = (j / Width) * 2 * lanes<S> + (j % Width) * lanes<S>;
            sum[i][j] = Layout == Left::rows ? load(t.init + i * t.ldi + column) : Vector<S>{};
        }
    }
    // Rows of A are reached from every third one, so that their addresses fit in the general registers.
    const S* a[(Rows + 2) / 3];
    THROUGHTIME_UNROLL
    for (int i = 0; i < (Rows + 2) / 3; ++i) a[i] = Layout == Left::rows ? t.a + 3 * i * lda : t.a + 3 * i;
    const S* b = t.b.data;
    for (Index k = 0; k < K; ++k) {
        Vector<S> right[across];
        THROUGHTIME_UNROLL
        for (int j = 0; j < across; ++j) right[j] = load(b + (j / Width) * panel + (j % Width) * lanes<S>);
        b += step;
        THROUGHTIME_UNROLL
        for (int i = 0; i < Rows; ++i) {
            const S left = Layout == Left::rows ? a[i / 3][(i % 3) * lda + k] : a[0][k * lda + i];
            THROUGHTIME_UNROLL
            for (int j = 0; j < across; ++j) sum[i][j] += left * right[j];
        }
    }
    THROUGHTIME_UNROLL
    for (int i = 0; i < Rows; ++i) {
        THROUGHTIME_UNROLL
        for (int j = 0; j < across; ++j) {
            const Index column = (j / Width) * 2 * lanes<S> + (j % Width) * lanes<S>;
            store(c + i * ldc + column, Layout == Left::rows ? sum[i][j] : load(t.init + i * t.ldi + column) + sum[i][j]);
        }
    }
}

template <class S>
using Tile = void (*)(const TileArguments<S>&);

template <class S, Left Layout, int Width, int Panels_, class Sequence>
struct TileTable;

template <class S, Left Layout, int Width, int Panels_, int... Rows>
struct TileTable<S, Layout, Width, Panels_, std::integer_sequence<int, Rows...>> {
    static constexpr Tile<S> entries[] = {tile<S, Layout, Rows + 1, Width, Panels_>...};
};

/// The tile of `rows` rows (at most `Most`) and Width * Panels_ vectors.
template <class S, Left Layout, int Width, int Panels_, int Most>
THROUGHTIME_INLINE Tile<S> tile_of(Index rows) {
    return TileTable<S, Layout, Width, Panels_, std::make_integer_sequence<int, Most>>::entries[rows - 1];
}

}  // namespace throughtime::THROUGHTIME_ISA
