// The recurrence over time, in both directions: the only sequential part.
//
//     forward    a_tau = (U x + b) + W s_{tau-1}                     s_tau = sigma(a_tau)
//     backward   g_tau = dL/ds_tau + Wᵀ delta_{tau+1}                delta_tau = sigma'(s_tau) g_tau
//
// Both leave the packed rows of a chunk, s or delta, where they find U x + b or dL/ds, unless these are read on the way: x
// where that pays, dL/ds where it lies well. The sum of an element always runs over b, then x_1 .. x_n, then s_1 .. s_d.
#pragma once

#include "cell.hpp"
#include "rows.hpp"
#include "weights.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// U x + b for all rows of a chunk into `states`. `buffer`: [chunk rows, row_stride(n)].
template <class S>
void start_states(const Chunk& chunk, const Recurrence<S>& net, const Weights<S>& weights, S* buffer, S* states) {
    const Index stride = row_stride<S>(weights.d);
    if (net.symbols) {
        for_rows(chunk, [&](Index r, Index t, Index b) {
            copy_row(states + r * stride, weights.table + *net.symbols.at(t, b) * stride, padded<S>(weights.d));
        });
        return;
    }
    const PackedRows<S> x = read_rows(chunk, net.x, weights.n, buffer);
    multiply(chunk.rows(), weights.d, weights.n, x.data, x.stride, weights.input, weights.bias, 0, states, stride);
}

/// Whether the sweep multiplies x along with s, slot by slot, in place of start_states: it saves a pass over the states, but
/// the rows of one slot must be enough to use the weights well, and U and W small enough to be fetched for each slot.
template <class S>
bool sweeps_inputs(const Chunk& chunk, const Recurrence<S>& net, const Weights<S>& weights) {
    constexpr Index least_rows = 6, most_bytes = 131072;
    const Index bytes = (net.n + net.d) * net.d * static_cast<Index>(sizeof(S));
    return !net.symbols && !weights.input.plain && chunk.alive(chunk.last - 1) >= least_rows && bytes <= most_bytes;
}

/// Makes s from x, or from U x + b in its place where `inputs` is absent. `before`: the states of slot first - 1, at least as
/// many rows as slot first has; null for zero.
template <class Cell, class S = typename Cell::Scalar>
void sweep_forward(const Chunk& chunk, const Weights<S>& weights, const SlotRows<S>& inputs, const S* before, S* states) {
    const Index d = weights.d, stride = row_stride<S>(d);
    for (Index tau = chunk.first; tau < chunk.last; ++tau) {
        const Index rows = chunk.alive(tau);
        if (inputs.data) {
            const Factors<S> x{weights.n, inputs.at(chunk, tau), inputs.row, weights.input.packed};
            const Factors<S> s = before ? Factors<S>{d, before, stride, weights.recurrent.packed} : Factors<S>{};
            product<S, Left::two_rows>(rows, padded<S>(d), {{x, s}, weights.bias, 0, states, stride});
        } else if (before) {
            multiply(rows, d, d, before, stride, weights.recurrent, states, stride, states, stride);
        }
        for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < d; j += lanes<S>) {
                S* s = states + i * stride + j;
                store(s, Cell::value(load<S>(s)));
            }
        before = states;
        states += rows * stride;
    }
}

/// Makes delta from `dstates`, dL/ds, which may be in its place. `deltas` has room for the rows of the chunk and holds, after
/// them, the deltas of slot `last`.
/// `dfinal`: what reaches each row's last state from outside, or absent.
template <class Cell, class S = typename Cell::Scalar>
void sweep_backward(const Chunk& chunk, const Weights<S>& weights, const SlotRows<S>& dstates, const Rows<const S>& dfinal,
                    const S* states, S* deltas) {
    const Index d = weights.d, stride = row_stride<S>(d);
    for (Index tau = chunk.last - 1; tau >= chunk.first; --tau) {
        const Index rows = chunk.alive(tau), going_on = chunk.alive(tau + 1);
        S* delta = deltas + chunk.row(tau) * stride;
        const S* s = states + chunk.row(tau) * stride;
        const S* const ds = dstates.at(chunk, tau);
        if (going_on > 0) multiply(going_on, d, d, delta + rows * stride, stride, weights.back, ds, dstates.row, delta, stride);
        for (Index i = going_on; ds != delta && i < rows; ++i) copy_row(delta + i * stride, ds + i * dstates.row, d);
        if (dfinal)
            for (Index i = going_on; i < rows; ++i) {
                const S* from = dfinal.at(chunk.block->order[i]);
                for (Index j = 0; j < d; ++j) delta[i * stride + j] += from[j];
            }
        for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < d; j += lanes<S>)
                store(delta + i * stride + j, load(delta + i * stride + j) * Cell::slope(load(s + i * stride + j)));
    }
}

/// Slot 0 of a block's rows into `to`.
template <class S>
void read_initial_states(const Block& block, const Recurrence<S>& net, Index rows, S* to) {
    const Index stride = row_stride<S>(net.d);
    for (Index i = 0; i < rows; ++i) {
        if (net.s0) copy_row_padded(to + i * stride, net.s0.at(block.order[i]), net.d);
        else fill_zero(to + i * stride, padded<S>(net.d));
    }
}

/// Gives the rows whose last slot is tau their final state, where `final` is not absent. `states`: the rows of that slot.
template <class S>
void write_final_states(const Block& block, Index tau, Index d, const S* states, const Rows<S>& final) {
    if (!final) return;
    for (Index i = block.count[tau + 1]; i < block.count[tau]; ++i)
        copy_row(final.at(block.order[i]), states + i * row_stride<S>(d), d);
}

/// How much of a block's states the workspace holds while it is walked forward.
enum class Keep {
    chunk,  // [block rows + chunk rows, row_stride(d)]: the slot before a chunk, and the chunk
    block,  // [rows of all slots, row_stride(d)]: slot tau at row start[tau]
};

/// Walks a block forward and calls visit(chunk, its states) after each chunk. `inputs`: [chunk rows, row_stride(n)];
/// `states`: as `keep` says.
template <class S, class Visit>
void walk_forward(const Block& block, const Recurrence<S>& net, const Weights<S>& weights, const Rows<S>& final, Keep keep,
                  S* inputs, S* states, Visit&& visit) {
    const Index d = net.d, stride = row_stride<S>(d);
    read_initial_states(block, net, block.rows, states);
    write_final_states(block, 0, d, states, final);
    S* before = states;
    for (Index i = 0; i < block.chunks; ++i) {
        const Chunk chunk(block, i);
        S* const here = states + (keep == Keep::block ? block.start[chunk.first] : block.rows) * stride;
        SlotRows<S> x;
        if (sweeps_inputs(chunk, net, weights)) x = read_slots(chunk, net.x, net.n, false, inputs);
        else start_states(chunk, net, weights, inputs, here);
        const S* const reached = i > 0 || net.s0 ? before : nullptr;
        with_cell<S>(net.nonlinearity, [&](auto cell) { sweep_forward<decltype(cell)>(chunk, weights, x, reached, here); });
        for (Index tau = chunk.first; tau < chunk.last; ++tau)
            write_final_states(block, tau, d, here + chunk.row(tau) * stride, final);
        visit(chunk, here);
        before = here + chunk.row(chunk.last - 1) * stride;
        if (keep == Keep::chunk) {  // the next chunk is written over this one
            std::memmove(states, before, static_cast<std::size_t>(chunk.alive(chunk.last) * stride) * sizeof(S));
            before = states;
        }
    }
}

/// ds_0 = Wᵀ delta_1, and dL/ds_final of a row without steps. `deltas`: those of slot 1; `buffer`: [rows, row_stride(d)].
template <class S>
void write_initial_gradient(const Block& block, const Weights<S>& weights, const Rows<const S>& dfinal, const S* deltas,
                            S* buffer, const Rows<S>& ds0) {
    const Index d = weights.d, stride = row_stride<S>(d), alive = block.count[1];
    if (alive > 0) multiply(alive, d, d, deltas, stride, weights.back, weights.zeros, 0, buffer, stride);
    for (Index i = alive; i < block.rows; ++i) {
        if (dfinal) copy_row(buffer + i * stride, dfinal.at(block.order[i]), d);
        else fill_zero(buffer + i * stride, d);
    }
    for (Index i = 0; i < block.rows; ++i) copy_row(ds0.at(block.order[i]), buffer + i * stride, d);
}

}  // namespace throughtime::THROUGHTIME_ISA
