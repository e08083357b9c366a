// learning_step: loss and gradients of an Elman network, in one call.
//
// A task sweeps a block forward to its end and keeps the states; then, chunk by chunk from the last, it makes the logits, the
// loss, the errors, the deltas and the gradient sums, while the chunk is in the cache. Only the states of one block per task
// outlive a chunk. Without gradients nothing does.
#pragma once

#include "layer.hpp"
#include "softmax.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Arrays of one task of learning_step.
template <class S>
struct StepArrays {
    BackwardArrays<S> back;  // with gradients only, but for `inputs`
    S* states;               // [rows of all slots of a block, row_stride(d)]; without gradients as in ForwardArrays
    S* errors;               // [chunk rows, row_stride(k)]: logits, then errors
    S* inputs;               // [chunk rows, row_stride(n)]
    double* losses;          // [chunks of a block]: their sums do not depend on the direction in which they are made

    void lay_out(Arena& arena, const StepCall<S>& call, const Task& task) {
        const Recurrence<S>& net = call.net;
        const Index stride = row_stride<S>(net.d);
        if (call.dW) back.lay_out(arena, net, task.chunk_rows, task.block_rows);
        inputs = call.dW ? back.inputs : arena.take<S>(net.symbols ? 0 : task.chunk_rows * row_stride<S>(net.n));
        states = arena.take<S>((call.dW ? task.packed_rows : task.block_rows + task.chunk_rows) * stride);
        errors = arena.take<S>(task.chunk_rows * row_stride<S>(call.k));
        losses = arena.take<double>(net.T);
    }
};

/// The logits of a chunk, turned into errors; returns the sum of its losses. `scale`: 1 / what the loss is divided by.
template <class S>
double make_errors(const Chunk& chunk, const StepCall<S>& call, const Weights<S>& weights, S scale, const S* states,
                   S* errors) {
    const Index d = call.net.d, k = call.k;
    multiply(chunk.rows(), k, d, states, row_stride<S>(d), weights.output, weights.output_bias, 0, errors, row_stride<S>(k));
    return cross_entropy(chunk, call.y, call.k, scale, errors);
}

/// The gradient sums of a block whose states are kept.
template <class S>
void step_back(const Block& block, const StepCall<S>& call, const Weights<S>& weights, S scale, const StepArrays<S>& arrays,
               const Sums<S>& sums, bool fresh) {
    const Index d = call.net.d, k = call.k, stride = row_stride<S>(d), error_stride = row_stride<S>(k);
    for (Index i = block.chunks - 1; i >= 0; --i) {
        const Chunk chunk(block, i);
        const Index rows = chunk.rows();
        const S* before = arrays.states + block.start[chunk.first - 1] * stride;
        const S* states = arrays.states + block.start[chunk.first] * stride;
        arrays.losses[i] = make_errors(chunk, call, weights, scale, states, arrays.errors);
        add_products(fresh, weights, k, rows, arrays.errors, error_stride, in_place(states, stride), sums.dV, sums.stride);
        add_column_sums(rows, k, arrays.errors, sums.dc);
        arrays.back.advance(chunk, d);
        multiply(rows, d, k, arrays.errors, error_stride, weights.from_output, weights.zeros, 0, arrays.back.delta, stride);
        backward_chunk(chunk, call.net, weights, packed_slots<S>(arrays.back.delta, d), {}, before, states, arrays.back,
                       {sums, {}, call.dx, fresh});
        fresh = false;
    }
    if (call.ds0) write_initial_gradient(block, weights, {}, arrays.back.delta, arrays.states, call.ds0);
    if (call.dx) clear_padding(block, call.net.T, call.net.n, call.dx);
}

/// Runs one task; returns the sum of its losses.
template <class S>
double step_task(const Task& task, const StepCall<S>& call, const Weights<S>& weights, S scale, const Sums<S>& sums) {
    const Workspace<StepArrays<S>> workspace(call, task);
    const StepArrays<S>& arrays = workspace.parts;
    const bool learn = call.dW != nullptr;
    if (learn) {
        sums.start(task, call.net, call.k);
        arrays.back.start(call.net);
    }
    double loss = 0;
    for (const Block* block = task.begin; block != task.end; ++block) {
        Index done = 0;
        walk_forward(*block, call.net, weights, call.final, learn ? Keep::block : Keep::chunk, arrays.inputs, arrays.states,
                     [&](const Chunk& chunk, const S* states) {
                         if (!learn) arrays.losses[done++] = make_errors(chunk, call, weights, scale, states, arrays.errors);
                     });
        if (learn) step_back(*block, call, weights, scale, arrays, sums, block == task.begin);
        for (Index i = 0; i < block->chunks; ++i) loss += arrays.losses[i];
    }
    return loss;
}

/// What the sum of the losses is divided by. Where nothing counts the loss is 0.
template <class S>
double divisor(const StepCall<S>& call) {
    const Recurrence<S>& net = call.net;
    if (!call.per_token) return static_cast<double>(net.B);
    Index counted = 0;
    for (Index b = 0; b < net.B; ++b)
        for (Index t = 0; t < (net.lengths ? net.lengths[b] : net.T); ++t) counted += *call.y.at(t, b) != ignored_label;
    return static_cast<double>(larger(counted, 1));
}

template <class S>
void learning_step(const StepCall<S>& call) {
    const Recurrence<S>& net = call.net;
    const bool learn = call.dW != nullptr;
    const Index inputs = net.symbols ? 1 : net.n;
    const Index work = 2 * net.d * (net.d + inputs + call.k);  // gradients wanted or not: the loss has the same bits
    const Plan plan(net, net.threads, work);
    const bool dx = static_cast<bool>(call.dx);
    const bool back = learn && (net.T > 1 || call.ds0);
    const WeightUse use{.forward = true, .backward = back, .inputs = dx, .output = true, .upstream = learn};
    Workspace<Weights<S>> weights(net, use, call.k);
    weights.parts.pack(net, use, call.V, call.c);
    const Sums<S> out{.dU = call.dU, .dW = call.dW, .db = call.db, .dV = call.dV, .dc = call.dc, .stride = net.d};
    const Workspace<AllSums<S>> sums(net, call.k, plan.count, out);
    const Sums<S>* const of_task = sums.parts.of_task;
    const double total = divisor(call);
    parallel_for(plan.threads, plan.count, [&](Index q) {
        sums.parts.losses[q] = step_task(plan.tasks[q], call, weights.parts, static_cast<S>(1 / total), of_task[q]);
    });
    *call.loss = 0;
    for (Index q = 0; q < plan.count; ++q) *call.loss += sums.parts.losses[q];
    *call.loss /= total;
    if (learn) add_all_tasks(of_task, plan, net.n, net.d, call.k, out);
}

}  // namespace throughtime::THROUGHTIME_ISA
