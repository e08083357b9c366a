// Register tiles: the innermost loops, where the time is spent.
//
// A tile computes Rows x (Panels * Width) vectors of C = init + A B, with the sums in registers: per step of the
// inner dimension it loads one row of B and broadcasts one number of A per row. A second product may follow in the same sums.
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
    rows,      // at a[i * lda + k]: C = init + A B
    two_rows,  // the same, with two products: C = init + A B + A' B'
    columns,   // at a[i + k * lda]: C = init + A B, the product summed apart and then added
};

/// The two sides of a product A B, over K = 0, 1, 2, ...
template <class S>
struct Factors {
    Index K = 0;
    const S* a = nullptr;
    Index lda = 0;
    Panels<S> b{};
};

template <class S>
struct TileArguments {
    Factors<S> factors[2];  // the second for Left::two_rows only
    const S* init;          // row i at init + i * ldi
    Index ldi;
    S* c;
    Index ldc;
};

template <class S, Left Layout, int Rows, int Width, int Panels_>
[[gnu::noinline]] void tile(const TileArguments<S>& t) {
    constexpr int across = Width * Panels_;
    const Index ldc = t.ldc;
    S* const c = t.c;
    Vector<S> sum[Rows][across];
    THROUGHTIME_UNROLL
    for (int i = 0; i < Rows; ++i) {
        THROUGHTIME_UNROLL
        for (int j = 0; j < across; ++j) {
            const Index column = (j / Width) * 2 * lanes<S> + (j % Width) * lanes<S>;
            sum[i][j] = Layout != Left::columns ? load(t.init + i * t.ldi + column) : Vector<S>{};
        }
    }
    THROUGHTIME_UNROLL
    for (int part = 0; part < (Layout == Left::two_rows ? 2 : 1); ++part) {
        const Factors<S>& factors = t.factors[part];
        const Index K = factors.K, lda = factors.lda, step = factors.b.step, panel = factors.b.panel;
        // Rows of A are reached from every third one, so that their addresses fit in the general registers.
        const S* a[(Rows + 2) / 3];
        THROUGHTIME_UNROLL
        for (int i = 0; i < (Rows + 2) / 3; ++i) a[i] = factors.a + 3 * i * (Layout != Left::columns ? lda : 1);
        const S* b = factors.b.data;
        for (Index k = 0; k < K; ++k) {
            Vector<S> right[across];
            THROUGHTIME_UNROLL
            for (int j = 0; j < across; ++j) right[j] = load(b + (j / Width) * panel + (j % Width) * lanes<S>);
            b += step;
            THROUGHTIME_UNROLL
            for (int i = 0; i < Rows; ++i) {
                const S left = Layout != Left::columns ? a[i / 3][(i % 3) * lda + k] : a[0][k * lda + i];
                THROUGHTIME_UNROLL
                for (int j = 0; j < across; ++j) sum[i][j] += left * right[j];
            }
        }
    }
    THROUGHTIME_UNROLL
    for (int i = 0; i < Rows; ++i) {
        THROUGHTIME_UNROLL
        for (int j = 0; j < across; ++j) {
            const Index column = (j / Width) * 2 * lanes<S> + (j % Width) * lanes<S>;
            store(c + i * ldc + column, Layout != Left::columns ? sum[i][j] : load(t.init + i * t.ldi + column) + sum[i][j]);
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
