// Cross-entropy of a linear layer for any rows: logits, softmax and errors of some rows at a time, never of all.
//
//     z = V s + c        p = softmax(z)        w: weights of classes, or 1        ε: label smoothing
//     L = A (log Σ_j e^{z_j - max z}) − (1 − ε) w_y (z_y − max z) − (ε / k) Σ_j w_j (z_j − max z)      A = (1 − ε) w_y + (ε / k) Σ w
//     dz_j = A p_j − (1 − ε) w_y [j = y] − (ε / k) w_j
//
// as torch.nn.functional.cross_entropy defines it; summed, or divided by Σ w_y. The gradients are made with the loss.
#pragma once

#include "../pool.hpp"
#include "arena.hpp"
#include "multiply.hpp"
#include "softmax.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// The readout's weights, packed; see Weights.
template <class S>
struct PackedReadout {
    S *forward, *back, *bias, *zeros, *class_weights;

    void lay_out(Arena& arena, const ReadoutCall<S>& call) {
        forward = arena.take<S>(packed_size<S>(call.d, call.k));
        back = arena.take<S>(call.learn() ? packed_size<S>(call.k, call.d) : 0);
        bias = arena.take<S>(padded<S>(call.k));
        zeros = arena.take<S>(padded<S>(larger(call.d, call.k)));
        class_weights = arena.take<S>(padded<S>(call.k));
    }

    /// Returns Σ w.
    double pack(const ReadoutCall<S>& call) const {
        const FlushToZero mode;
        pack_transposed(call.V, call.d, call.k, forward);
        if (call.learn()) pack_rows(call.V, call.k, call.d, back);
        fill_zero(zeros, padded<S>(larger(call.d, call.k)));
        double total = 0;
        for (Index j = 0; j < padded<S>(call.k); ++j) {
            bias[j] = j >= call.k ? S(-1e30) : call.c ? call.c[j] : S(0);  // so low that softmax gives what is no class nothing
            class_weights[j] = j >= call.k ? S(0) : call.weights ? call.weights[j] : S(1);
            total += static_cast<double>(class_weights[j]);
        }
        return total;
    }
};

/// Arrays of one task. The sums are of its rows.
template <class S>
struct ReadoutArrays {
    S* states;  // [chunk, row_stride(d)]: gathered, then their gradient
    S* errors;  // [chunk, row_stride(k)]
    S* dV;      // [k, row_stride(d)]
    S* dc;      // [padded k]
    double loss;

    void lay_out(Arena& arena, const ReadoutCall<S>& call, Index chunk) {
        states = arena.take<S>(chunk * row_stride<S>(call.d));
        errors = arena.take<S>(chunk * row_stride<S>(call.k));
        dV = arena.take<S>(call.dV ? call.k * row_stride<S>(call.d) : 0);
        dc = arena.take<S>(call.dc ? padded<S>(call.k) : 0);
    }
};

/// All tasks' arrays.
template <class S>
struct ReadoutTasks {
    ReadoutArrays<S>* of;

    void lay_out(Arena& arena, const ReadoutCall<S>& call, Index tasks, Index chunk) {
        of = arena.take<ReadoutArrays<S>>(tasks);
        for (Index q = 0; q < tasks; ++q) {
            ReadoutArrays<S> arrays{};
            arrays.lay_out(arena, call, chunk);
            if (of) of[q] = arrays;
        }
    }
};

/// Turns one row of logits into the errors times `scale`; returns its loss.
template <class S>
double weighted_cross_entropy(const ReadoutCall<S>& call, const S* weights, double all_weights, Index label, S scale, S* z) {
    const Index width = padded<S>(call.k);
    const double share = call.smoothing / static_cast<double>(call.k), own = (1 - call.smoothing) * static_cast<double>(weights[label]);
    const double amount = own + share * all_weights;
    const S top = largest_logit<S>(z, width);
    double loss = -own * static_cast<double>(z[label] - top);
    for (Index j = 0; share != 0 && j < call.k; ++j) loss -= share * static_cast<double>(weights[j]) * static_cast<double>(z[j] - top);
    const S total = exponentials<S>(z, width, top);
    loss += amount * __builtin_log(static_cast<double>(total));
    const S factor = static_cast<S>(amount) * scale / total, less = static_cast<S>(share) * scale;
    for (Index j = 0; j < width; j += lanes<S>) store(z + j, load(z + j) * factor - load(weights + j) * less);
    z[label] -= static_cast<S>(own) * scale;
    return loss;
}

/// The same where no class has a weight and nothing is smoothed, without the logarithm: it goes into `partition`.
template <class S>
THROUGHTIME_INLINE double plain_cross_entropy(Index k, Index label, S scale, S* z, LogOfProduct& partition) {
    const Index width = padded<S>(k);
    const S top = largest_logit<S>(z, width);
    const double correct = static_cast<double>(z[label] - top);
    const S total = exponentials<S>(z, width, top);
    partition.times(static_cast<double>(total));
    const S factor = scale / total;
    for (Index j = 0; j < width; j += lanes<S>) store(z + j, load(z + j) * factor);
    z[label] -= scale;
    return -correct;
}

/// Works through the rows first .. last - 1.
template <class S>
void readout_task(const ReadoutCall<S>& call, const PackedReadout<S>& packed, double all_weights, double total, Index chunk,
                  Index first, Index last, ReadoutArrays<S>& arrays) {
    const Index d = call.d, k = call.k, d_stride = row_stride<S>(d), k_stride = row_stride<S>(k);
    const bool plain = !call.weights && !call.losses && call.smoothing == 0;
    LogOfProduct partition;
    arrays.loss = 0;
    for (Index begin = first; begin < last; begin += chunk) {
        const Index rows = smaller(chunk, last - begin);
        const S* states = call.states.at(begin);
        Index stride = call.states.row;
        if (d % lanes<S> != 0 || stride * static_cast<Index>(sizeof(S)) % 2048 == 0) {
            for (Index i = 0; i < rows; ++i) copy_row_padded(arrays.states + i * d_stride, call.states.at(begin + i), d);
            states = arrays.states;
            stride = d_stride;
        }
        const Panels<S> forward{packed.forward, 2 * lanes<S>, d * 2 * lanes<S>};
        multiply(rows, k, d, states, stride, forward, packed.bias, 0, arrays.errors, k_stride);
        for (Index i = 0; i < rows; ++i) {
            S* const z = arrays.errors + i * k_stride;
            const Index label = call.labels[begin + i];
            double loss = 0;
            if (label == call.ignored) fill_zero(z, padded<S>(k));
            else {
                const S scale = call.row_scales ? call.row_scales[begin + i] : static_cast<S>(1 / total);
                loss = plain ? plain_cross_entropy(k, label, scale, z, partition)
                             : weighted_cross_entropy(call, packed.class_weights, all_weights, label, scale, z);
            }
            arrays.loss += loss;
            if (call.losses) call.losses[begin + i] = static_cast<S>(loss);
        }
        const bool fresh = begin == first;
        if (call.dV)
            accumulate(k, d, rows, arrays.errors, k_stride, in_place(states, stride), fresh ? packed.zeros : arrays.dV,
                       fresh ? 0 : d_stride, arrays.dV, d_stride);
        static constexpr S one = 1;
        if (call.dc)
            accumulate<S>(1, k, rows, &one, 0, in_place<S>(arrays.errors, k_stride), fresh ? packed.zeros : arrays.dc, 0,
                          arrays.dc, 0);
        if (!call.dstates) continue;
        const Panels<S> back{packed.back, 2 * lanes<S>, k * 2 * lanes<S>};
        const bool there = d % lanes<S> == 0;  // the caller's rows take whole vectors
        S* const to = there ? call.dstates.at(begin) : arrays.states;
        multiply(rows, d, k, arrays.errors, k_stride, back, packed.zeros, 0, to, there ? call.dstates.row : d_stride);
        for (Index i = 0; !there && i < rows; ++i) copy_row(call.dstates.at(begin + i), to + i * d_stride, d);
    }
    arrays.loss += partition.value();
}

/// out = Σ of one array of all tasks, in their order.
template <class S>
void add_readout(const ReadoutArrays<S>* of, Index tasks, S* ReadoutArrays<S>::*part, Index rows, Index width, Index stride, S* out,
                 int threads) {
    if (!out) return;
    parallel_for(threads, smaller(rows, threads), [&](Index piece) {
        const Index pieces = smaller(rows, threads);
        for (Index i = rows * piece / pieces; i < rows * (piece + 1) / pieces; ++i) {
            copy_row(out + i * width, of[0].*part + i * stride, width);
            for (Index q = 1; q < tasks; ++q)
                for (Index j = 0; j < width; ++j) out[i * width + j] += (of[q].*part)[i * stride + j];
        }
    });
}

template <class S>
void readout(const ReadoutCall<S>& call) {
    constexpr Index logits_kept = 131072, least = 32, most = 256, rows_of_thread = 64;  // numbers; rows
    const Index chunk = smaller(most, larger(least, logits_kept / row_stride<S>(call.k)));
    const int threads = static_cast<int>(smaller(call.threads, 1 + call.N / rows_of_thread));
    const Workspace<PackedReadout<S>> packed(call);
    const double all_weights = packed.parts.pack(call);
    double total = call.divisor;
    if (total == 0) {
        for (Index i = 0; i < call.N; ++i)
            if (call.labels[i] != call.ignored) total += static_cast<double>(packed.parts.class_weights[call.labels[i]]);
    }
    const Workspace<ReadoutTasks<S>> tasks(call, Index{threads}, chunk);
    ReadoutArrays<S>* const of = tasks.parts.of;
    parallel_for(threads, Index{threads}, [&](Index q) {
        readout_task(call, packed.parts, all_weights, total, chunk, call.N * q / threads, call.N * (q + 1) / threads, of[q]);
    });
    *call.loss = 0;
    for (Index q = 0; q < threads; ++q) *call.loss += of[q].loss;
    *call.loss /= total;
    add_readout(of, Index{threads}, &ReadoutArrays<S>::dV, call.k, call.d, row_stride<S>(call.d), call.dV, threads);
    add_readout(of, Index{threads}, &ReadoutArrays<S>::dc, Index{1}, call.k, padded<S>(call.k), call.dc, 1);
}

}  // namespace throughtime::THROUGHTIME_ISA
