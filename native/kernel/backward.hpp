// What the two backward passes share: the workspace of a task, and the way of a chunk from dL/ds to the gradient sums.
#pragma once

#include "contract.hpp"
#include "sweep.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// What a backward pass is to produce.
template <class S>
struct Wanted {
    Sums<S> sums;     // of this task
    Series<S> delta;  // [T, B, d], or absent
    Series<S> dx;     // [T, B, n], or absent
    bool fresh;       // whether nothing has been summed yet
};

/// Arrays of one task while it walks back. Rows of `stride` numbers, as many as the largest chunk of any block has.
template <class S>
struct BackwardArrays {
    S* delta;       // [chunk rows + block rows, row_stride(d)]: the chunk, then the slot after it
    S* previous;    // [chunk rows, row_stride(d)]
    S* inputs;      // [chunk rows, row_stride(n)]: x, later dx
    Index* head;    // [n] for symbols, -1
    Index* next;    // [chunk rows]

    void lay_out(Arena& arena, const Recurrence<S>& net, Index chunk_rows, Index block_rows) {
        delta = arena.take<S>((chunk_rows + block_rows) * row_stride<S>(net.d));
        previous = arena.take<S>(chunk_rows * row_stride<S>(net.d));
        inputs = arena.take<S>(net.symbols ? 0 : chunk_rows * row_stride<S>(net.n));
        head = arena.take<Index>(net.symbols ? net.n : 0);
        next = arena.take<Index>(net.symbols ? chunk_rows : 0);
    }

    void start(const Recurrence<S>& net) const {
        if (net.symbols)
            for (Index i = 0; i < net.n; ++i) head[i] = -1;
    }

    /// Room for the deltas of a chunk, in front of those of the slot after it (which the chunk walked before left in front).
    void advance(const Chunk& chunk, Index d) const {
        const Index stride = row_stride<S>(d);
        const auto bytes = static_cast<std::size_t>(chunk.alive(chunk.last) * stride) * sizeof(S);
        std::memmove(delta + chunk.rows() * stride, delta, bytes);
    }
};

/// From dL/ds of a chunk, which may lie in arrays.delta, to all that is wanted.
/// `before`: the states of slot first - 1; `states`: those of the chunk.
template <class S>
void backward_chunk(const Chunk& chunk, const Recurrence<S>& net, const Weights<S>& weights, const SlotRows<S>& dstates,
                    const Rows<const S>& dfinal, const S* before, const S* states, const BackwardArrays<S>& arrays,
                    const Wanted<S>& wanted) {
    const Index n = net.n, d = net.d, rows = chunk.rows(), stride = row_stride<S>(d);
    const S* delta = arrays.delta;
    with_cell<S>(net.nonlinearity, [&](auto cell) {
        sweep_backward<decltype(cell)>(chunk, weights, dstates, dfinal, states, arrays.delta);
    });
    if (wanted.delta) scatter(chunk, delta, d, wanted.delta);
    if (wanted.sums.dW) {
        const Index first = chunk.first == 1 && !net.s0 ? chunk.alive(1) : 0;  // the rows before have no state before them
        const S* previous = previous_states(chunk, d, before, states, arrays.previous);
        add_products(wanted.fresh, weights, d, rows - first, delta + first * stride, stride,
                     in_place(previous + first * stride, stride), wanted.sums.dW, wanted.sums.stride);
    }
    if (wanted.sums.db) add_column_sums(rows, d, delta, wanted.sums.db);
    if (wanted.sums.dU && net.symbols) {
        add_by_symbol<S>(chunk, net.symbols, d, {delta, stride}, arrays.head, arrays.next, {wanted.sums.dU, stride});
    } else if (wanted.sums.dU) {
        const PackedRows<S> x = read_rows(chunk, net.x, n, arrays.inputs);
        add_products(wanted.fresh, weights, n, rows, x.data, x.stride, in_place(delta, stride), wanted.sums.dU, stride);
    }
    if (wanted.dx) {
        multiply(rows, n, d, delta, stride, weights.to_inputs, weights.zeros, 0, arrays.inputs, row_stride<S>(n));
        scatter(chunk, arrays.inputs, n, wanted.dx);
    }
}

/// The gradient sums of all tasks of a call, and the memory they share.
template <class S>
struct AllSums {
    Sums<S>* of_task;  // [tasks]
    double* losses;    // [tasks]

    void lay_out(Arena& arena, const Recurrence<S>& net, Index k, Index tasks, const Sums<S>& out) {
        of_task = arena.take<Sums<S>>(tasks);
        losses = arena.take<double>(tasks);
        for (Index q = 0; q < tasks; ++q) {
            Sums<S> sums;
            sums.lay_out(arena, net.n, net.d, k, out, tasks == 1);
            if (of_task) of_task[q] = sums;
        }
    }
};

}  // namespace throughtime::THROUGHTIME_ISA
