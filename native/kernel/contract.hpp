// From delta to the gradients: sums over the rows of a chunk, added to the sums of the task; and the sums of all tasks.
//
//     dW = Σ delta_t s_{t-1}ᵀ    dU = Σ delta_t x_tᵀ    db = Σ delta_t    dV = Σ e_t s_tᵀ    dc = Σ e_t    dx_t = Uᵀ delta_t
//
// A chunk is summed on its own before it is added, and the tasks are added in their order: the error stays that of a sum in
// blocks, and the bits do not depend on which thread was free.
#pragma once

#include "../pool.hpp"
#include "rows.hpp"
#include "weights.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Gradient sums of one task. Null where not wanted.
template <class S>
struct Sums {
    S* dU;  // [n, row_stride(d)]: transposed
    S* dW;  // [d, stride]
    S* db;  // [row_stride(d)]
    S* dV;  // [k, stride]
    S* dc;  // [row_stride(k)]
    Index stride;

    /// `out`: the caller's arrays, null where not wanted. Where they can take whole vectors and there is but one task
    /// (`alone`), dW and dV are summed right there.
    void lay_out(Arena& arena, Index n, Index d, Index k, const Sums& out, bool alone) {
        const bool there = alone && d % lanes<S> == 0;
        const auto part = [&](bool wanted, Index count) { return wanted ? arena.take<S>(count) : nullptr; };
        stride = there ? d : row_stride<S>(d);
        dU = part(out.dU, n * row_stride<S>(d));
        dW = there ? out.dW : part(out.dW, d * stride);
        db = part(out.db, row_stride<S>(d));
        dV = there ? out.dV : part(out.dV, k * stride);
        dc = part(out.dc, row_stride<S>(k));
    }

    /// Sets all sums to zero, but for the products, which the first chunk of the task overwrites where it has one.
    void start(const Task& task, const Recurrence<S>& net, Index k) const {
        const bool steps = task.begin->steps > 0;
        if (dU && (net.symbols || !steps)) fill_zero(dU, net.n * row_stride<S>(net.d));
        if (dW && !steps) fill_zero(dW, net.d * stride);
        if (db) fill_zero(db, row_stride<S>(net.d));
        if (dV && !steps) fill_zero(dV, k * stride);
        if (dc) fill_zero(dc, row_stride<S>(k));
    }
};

/// Sum += Aᵀ B, or Sum = Aᵀ B where it is `fresh`, of products over `rows` rows: A [rows, M], B [rows, d]. Sum: [M, ldc].
template <class S>
THROUGHTIME_INLINE void add_products(bool fresh, const Weights<S>& weights, Index M, Index rows, const S* a, Index lda,
                                     Panels<S> b, S* sum, Index ldc) {
    accumulate(M, weights.d, rows, a, lda, b, fresh ? weights.zeros : sum, fresh ? 0 : ldc, sum, ldc);
}

/// Σ over rows of a [rows, width] matrix, as a product with ones.
template <class S>
THROUGHTIME_INLINE void add_column_sums(Index rows, Index width, const S* matrix, S* sums) {
    static constexpr S one = 1;
    const Index stride = row_stride<S>(width);
    accumulate<S>(1, width, rows, &one, 0, in_place(matrix, stride), sums, 0, sums, stride);
}

/// dU of symbols: the deltas of each symbol, summed on their own, go to its row. `head` [n] is -1 everywhere, before and after;
/// `next` [chunk rows].
template <class S>
void add_by_symbol(const Chunk& chunk, const Series<const std::int64_t>& symbols, Index d, const Matrix<const S>& deltas,
                   Index* head, Index* next, const Matrix<S>& dU) {
    for_rows(chunk, [&](Index r, Index t, Index b) {
        Index& first = head[*symbols.at(t, b)];
        next[r] = first;
        first = r;
    });
    for_rows(chunk, [&](Index, Index t, Index b) {
        const Index symbol = *symbols.at(t, b);
        if (head[symbol] < 0) return;  // done already
        for (Index j = 0; j < d; j += lanes<S>) {
            Vector<S> sum{};
            for (Index r = head[symbol]; r >= 0; r = next[r]) sum += load(deltas.data + r * deltas.stride + j);
            S* to = dU.data + symbol * dU.stride + j;
            store(to, load<S>(to) + sum);
        }
        head[symbol] = -1;
    });
}

/// The states before each row of the chunk, in its packed order: where they lie, or gathered into `buffer`.
/// `before`: the rows of slot first - 1; `states`: those of the chunk.
template <class S>
const S* previous_states(const Chunk& chunk, Index d, const S* before, const S* states, S* buffer) {
    const Index stride = row_stride<S>(d);
    if (chunk.even() && before + chunk.alive(chunk.first) * stride == states) return before;
    for (Index tau = chunk.first; tau < chunk.last; ++tau) {
        const S* from = tau == chunk.first ? before : states + chunk.row(tau - 1) * stride;
        for (Index i = 0; i < chunk.alive(tau); ++i)
            copy_row(buffer + (chunk.row(tau) + i) * stride, from + i * stride, padded<S>(d));
    }
    return buffer;
}

/// Adds one part of the sums of all tasks, in their order, into the caller's array. `sums` [tasks].
template <class S>
void add_tasks(const Sums<S>* sums, Index tasks, Index rows, Index columns, Index stride, S* Sums<S>::*part, S* out,
               int threads) {
    constexpr Index large = 32768;  // numbers, from which on it pays to share them among threads
    if (!out || sums[0].*part == out) return;
    const Index pieces = smaller(rows, 1 + rows * columns / large);
    parallel_for(threads, pieces, [&](Index piece) {
        for (Index i = rows * piece / pieces; i < rows * (piece + 1) / pieces; ++i) {
            S* const to = out + i * columns;
            copy_row(to, sums[0].*part + i * stride, columns);
            for (Index q = 1; q < tasks; ++q) {
                const S* from = sums[q].*part + i * stride;
                Index j = 0;
                for (; j + lanes<S> <= columns; j += lanes<S>) store(to + j, load<S>(to + j) + load(from + j));
                for (; j < columns; ++j) to[j] += from[j];
            }
        }
    });
}

/// The same for dU, whose sums are transposed; square by square.
template <class S>
void add_tasks_transposed(const Sums<S>* sums, Index tasks, Index n, Index d, S* out) {
    const FlushToZero mode;
    const Index stride = row_stride<S>(d);
    for (Index i0 = 0; i0 < d; i0 += lanes<S>)
        for (Index j0 = 0; j0 < n; j0 += lanes<S>) {
            const Index rows = smaller(lanes<S>, d - i0), columns = smaller(lanes<S>, n - j0);
            Vector<S> square[lanes<S>] = {};
            for (Index j = 0; j < columns; ++j)
                for (Index q = 0; q < tasks; ++q) square[j] += load(sums[q].dU + (j0 + j) * stride + i0);
            transpose<S>(square);
            for (Index i = 0; i < rows; ++i) {
                S row[lanes<S>];
                store(row, square[i]);
                copy_row(out + (i0 + i) * n + j0, row, columns);
            }
        }
}

/// All parts of the sums of all tasks into the caller's arrays.
template <class S>
void add_all_tasks(const Sums<S>* sums, const Plan& plan, Index n, Index d, Index k, const Sums<S>& out) {
    if (out.dU) add_tasks_transposed(sums, plan.count, n, d, out.dU);
    const auto add = [&](Index rows, Index columns, Index stride, S* Sums<S>::*part, S* to) {
        add_tasks(sums, plan.count, rows, columns, stride, part, to, plan.threads);
    };
    add(d, d, sums[0].stride, &Sums<S>::dW, out.dW);
    add(1, d, Index{0}, &Sums<S>::db, out.db);
    add(k, d, sums[0].stride, &Sums<S>::dV, out.dV);
    add(1, k, Index{0}, &Sums<S>::dc, out.dc);
}

}  // namespace throughtime::THROUGHTIME_ISA
