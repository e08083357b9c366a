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

/// The square at b[j * K + k], j < rows and k < columns, transposed: square[k] holds the column k; zero beyond.
template <class S>
THROUGHTIME_INLINE void load_transposed(const S* b, Index K, Index rows, Index columns, Vector<S> (&square)[lanes<S>]) {
    if (rows >= lanes<S> && columns >= lanes<S>) {
        THROUGHTIME_UNROLL
        for (Index j = 0; j < lanes<S>; ++j) square[j] = load(b + j * K);
    } else {
        for (Index j = 0; j < lanes<S>; ++j) {
            S part[lanes<S>] = {};
            if (j < rows) std::memcpy(part, b + j * K, static_cast<std::size_t>(smaller(columns, lanes<S>)) * sizeof(S));
            square[j] = load<S>(part);
        }
    }
    transpose<S>(square);
}

/// Packs the transpose of b[j * K + k] (N x K) into `out` [packed_size]; columns beyond N are zero.
template <class S>
Panels<S> pack_transposed(const S* b, Index K, Index N, S* out) {
    constexpr Index width = 2 * lanes<S>;
    for (Index j = 0; j < N; j += width)
        for (Index k = 0; k < K; k += lanes<S>)
            for (Index half = 0; half < width; half += lanes<S>) {
                Vector<S> square[lanes<S>];
                load_transposed(b + (j + half) * K + k, K, N - j - half, K - k, square);
                S* to = out + j * K + k * width + half;
                if (K - k >= lanes<S>) {
                    THROUGHTIME_UNROLL
                    for (Index i = 0; i < lanes<S>; ++i) store(to + i * width, square[i]);
                } else {
                    for (Index i = 0; i < K - k; ++i) store(to + i * width, square[i]);
                }
            }
    return {out, width, K * width};
}

/// Runs the tiles of one column of panels: M rows cut as evenly as the largest tile allows.
template <class S, Left Layout, int Width, int Panels_, int Most>
THROUGHTIME_INLINE void tile_column(Index M, TileArguments<S> t) {
    if (M <= Most) return tile_of<S, Layout, Width, Panels_, Most>(M)(t);
    const Index tiles = (M + Most - 1) / Most, base = M / tiles, longer = M % tiles;
    for (Index i = 0; i < tiles; ++i) {
        const Index rows = base + (i < longer);
        tile_of<S, Layout, Width, Panels_, Most>(rows)(t);
        for (Factors<S>& factors : t.factors) factors.a += rows * (Layout != Left::columns ? factors.lda : 1);
        t.init += rows * t.ldi;
        t.c += rows * t.ldc;
    }
}

/// C [M, N] = init + A B, for A in either layout. N is a multiple of the vector; M >= 1, K >= 0.
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
        for (Factors<S>& factors : t.factors) factors.b.data += panels * factors.b.panel;
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
/// Where the rows of B lie far apart, a few are used at a time: memory is then read in order, and the sums keep theirs.
template <class S>
THROUGHTIME_INLINE void multiply(Index M, Index N, Index K, const S* a, Index lda, Panels<S> b, const S* init, Index ldi,
                                 S* c, Index ldc) {
    const Index slice = b.step > 2 * lanes<S> ? 16 : K;
    for (Index k = 0; k < K; k += slice) {
        product<S, Left::rows>(M, padded<S>(N), {{{smaller(slice, K - k), a + k, lda, b}}, init, ldi, c, ldc});
        b.data += slice * b.step;
        init = c;
        ldi = ldc;
    }
}

/// A weight matrix [N, K] as it acts on rows of K numbers: packed, or as it lies where packing would not pay.
template <class S>
struct Weight {
    Panels<S> packed{};
    const S* plain = nullptr;
};

/// One row of C = init + A Wᵀ with W [N, K] as it lies: squares of it are transposed on the way, so that the sums run over
/// k = 0, 1, 2, ... as in the tiles.
template <class S>
void multiply_row(Index N, Index K, const S* a, const S* W, const S* init, S* c) {
    for (Index j = 0; j < N; j += lanes<S>) {
        Vector<S> sum = load(init + j);
        for (Index k = 0; k < K; k += lanes<S>) {
            Vector<S> square[lanes<S>];
            load_transposed(W + j * K + k, K, N - j, K - k, square);
            if (K - k >= lanes<S>) {
                THROUGHTIME_UNROLL
                for (Index i = 0; i < lanes<S>; ++i) sum += a[k + i] * square[i];
            } else {
                for (Index i = 0; i < K - k; ++i) sum += a[k + i] * square[i];
            }
        }
        store(c + j, sum);
    }
}

/// C = init + A Wᵀ over M rows.
template <class S>
THROUGHTIME_INLINE void multiply(Index M, Index N, Index K, const S* a, Index lda, const Weight<S>& weight, const S* init,
                                 Index ldi, S* c, Index ldc) {
    if (!weight.plain) return multiply(M, N, K, a, lda, weight.packed, init, ldi, c, ldc);
    for (Index i = 0; i < M; ++i) multiply_row(N, K, a + i * lda, weight.plain, init + i * ldi, c + i * ldc);
}

/// C [M, N] = init + Aᵀ B over K rows of A [K, M] and B [K, N]; `init` as in multiply. Where B is small enough to stay in the
/// L1 cache, C is walked row by row, as it lies in memory; else column by column, so that each panel of B is fetched once for as
/// many columns of A as stay in the L2 cache.
template <class S>
THROUGHTIME_INLINE void accumulate(Index M, Index N, Index K, const S* a, Index lda, Panels<S> b, const S* init, Index ldi,
                                   S* c, Index ldc) {
    constexpr Index small = 16384 / sizeof(S), near = 262144 / sizeof(S);
    const Index most = K * N <= small ? tile_rows : larger(tile_rows, near / larger(K, 1));
    const Index strips = (M + most - 1) / most, strip = round_up((M + strips - 1) / larger(strips, 1), tile_rows);
    for (Index i = 0; i < M; i += strip)
        product<S, Left::columns>(smaller(strip, M - i), padded<S>(N),
                                  {{{K, a + i, lda, b}}, init + i * ldi, ldi, c + i * ldc, ldc});
}

}  // namespace throughtime::THROUGHTIME_ISA
