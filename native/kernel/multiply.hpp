// Matrix products from register tiles, and the packing of their right-hand sides.
#pragma once

#include "tile.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Numbers that pack_* writes for K rows of N columns.
template <class S>
THROUGHTIME_INLINE constexpr Index packed_size(Index K, Index N) {
    return K * round_up(N, 2 * lanes<S>);
}

/// Rows of scratch memory as a right-hand side, where they lie.
template <class S>
THROUGHTIME_INLINE Panels<S> in_place(const S* rows, Index stride) {
    return {rows, stride, 2 * lanes<S>};
}

/// Packs b[k * N + j] (K x N) into `out` [packed_size]; columns beyond N are zero.
template <class S>
Panels<S> pack_rows(const S* b, Index K, Index N, S* out) {
    constexpr Index width = 2 * lanes<S>;
    for (Index j = 0; j < N; j += width) {
        const Index columns = smaller(width, N - j);
        S* panel = out + j * K;
        for (Index k = 0; k < K; ++k) {
            for (Index q = 0; q < columns; ++q) panel[k * width + q] = b[k * N + j + q];
            for (Index q = columns; q < width; ++q) panel[k * width + q] = S(0);
        }
    }
    return {out, width, K * width};
}

/// Packs the transpose of b[j * K + k] (N x K), read in blocks of a cache line, into `out` [packed_size].
template <class S>
Panels<S> pack_transposed(const S* b, Index K, Index N, S* out) {
    constexpr Index width = 2 * lanes<S>, line = 64 / sizeof(S);
    for (Index j = 0; j < N; j += width) {
        S* panel = out + j * K;
        for (Index k0 = 0; k0 < K; k0 += line) {
            const Index k1 = smaller(K, k0 + line);
            for (Index q = 0; q < width; ++q)
                for (Index k = k0; k < k1; ++k) panel[k * width + q] = j + q < N ? b[(j + q) * K + k] : S(0);
        }
    }
    return {out, width, K * width};
}

/// Runs the tiles of one column of panels: M rows cut as evenly as the largest tile allows.
template <class S, Left Layout, int Width, int Panels_, int Most>
THROUGHTIME_INLINE void tile_column(Index M, TileArguments<S> t) {
    const Index tiles = (M + Most - 1) / Most, base = M / tiles, longer = M % tiles;
    for (Index i = 0; i < tiles; ++i) {
        const Index rows = base + (i < longer);
        tile_of<S, Layout, Width, Panels_, Most>(rows)(t);
        t.a += Layout == Left::rows ? rows * t.lda : rows;
        t.init += rows * t.ldi;
        t.c += rows * t.ldc;
    }
}

/// C [M, N] = init + A B, or C += A B, by the layout of A. N is a multiple of the vector; M, K >= 1.
/// Few rows take several panels at once: a tile needs some eight independent sums to keep the multipliers busy.
template <class S, Left Layout>
void product(Index M, Index N, TileArguments<S> t) {
    constexpr Index pair = 2 * lanes<S>;
    constexpr int two_panels = many_registers ? 3 : 2;
    while (N > 0) {
        Index panels = 1;
        if (M == 1 && N >= 4 * pair) {
            tile_column<S, Layout, 2, 4, 1>(M, t);
            panels = 4;
        } else if (M <= two_panels && N >= 2 * pair) {
            tile_column<S, Layout, 2, 2, two_panels>(M, t);
            panels = 2;
        } else if (N >= pair) {
            tile_column<S, Layout, 2, 1, tile_rows>(M, t);
        } else {
            tile_column<S, Layout, 1, 1, tile_rows>(M, t);
        }
        N -= panels * pair;
        t.b.data += panels * t.b.panel;
        t.init += panels * pair;
        t.c += panels * pair;
    }
}

/// A matrix in scratch memory: row i at data + i * stride.
template <class S>
struct Matrix {
    S* data;
    Index stride;
};

/// C = init + A B over M rows. `init` may have stride 0 (one row for all), or be C itself. N is padded to whole vectors.
template <class S>
THROUGHTIME_INLINE void multiply(Index M, Index N, Index K, const S* a, Index lda, Panels<S> b, const S* init, Index ldi,
                                 S* c, Index ldc) {
    product<S, Left::rows>(M, padded<S>(N), {K, a, lda, b, init, ldi, c, ldc});
}

/// C [M, N] += Aᵀ B over K rows of A [K, M] and B [K, N].
template <class S>
THROUGHTIME_INLINE void accumulate(Index M, Index N, Index K, const S* a, Index lda, Panels<S> b, S* c, Index ldc) {
    product<S, Left::columns>(M, padded<S>(N), {K, a, lda, b, c, ldc, c, ldc});
}

}  // namespace throughtime::THROUGHTIME_ISA
