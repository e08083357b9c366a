// forward and gradients of the recurrence alone, as a layer needs them.
#pragma once

#include "../pool.hpp"
#include "backward.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Arrays of one task of forward.
template <class S>
struct ForwardArrays {
    S* states;  // [block rows + chunk rows, row_stride(d)]; see walk_forward
    S* inputs;  // [chunk rows, row_stride(n)]

    void lay_out(Arena& arena, const Recurrence<S>& net, const Task& task) {
        states = arena.take<S>((task.block_rows + task.chunk_rows) * row_stride<S>(net.d));
        inputs = arena.take<S>(net.symbols ? 0 : task.chunk_rows * row_stride<S>(net.n));
    }
};

template <class S>
void forward(const ForwardCall<S>& call) {
    const Recurrence<S>& net = call.net;
    const Plan plan(net, net.threads, net.d * (net.d + (net.symbols ? 1 : net.n)));
    const WeightUse use{.forward = true, .backward = false, .inputs = false, .output = false, .upstream = false};
    Workspace<Weights<S>> weights(net, use, Index{0});
    weights.parts.pack(net, use, nullptr, nullptr);
    parallel_for(plan.threads, plan.count, [&](Index q) {
        const Task& task = plan.tasks[q];
        const Workspace<ForwardArrays<S>> arrays(net, task);
        for (const Block* block = task.begin; block != task.end; ++block) {
            walk_forward(*block, net, weights.parts, call.final, Keep::chunk, arrays.parts.inputs, arrays.parts.states,
                         [&](const Chunk& chunk, const S* states) { scatter(chunk, states, net.d, call.states); });
            clear_padding(*block, net.T, net.d, call.states);
        }
    });
}

/// The caller's states of a chunk and of the slot before it (as many rows as go on), packed one after the other.
template <class S>
void read_states(const Chunk& chunk, const Recurrence<S>& net, const Series<const S>& from, S* before) {
    const Block& block = *chunk.block;
    const Index rows = chunk.alive(chunk.first), stride = row_stride<S>(net.d);
    if (chunk.first == 1) read_initial_states(block, net, rows, before);
    for (Index i = 0; chunk.first > 1 && i < rows; ++i)
        copy_row_padded(before + i * stride, from.at(block.time(chunk.first - 1, i), block.order[i]), net.d);
    gather(chunk, from, net.d, before + rows * stride);
}

/// Arrays of one task of backward.
template <class S>
struct LayerArrays {
    BackwardArrays<S> back;
    S* states;  // [block rows + chunk rows, row_stride(d)]: the slot before the chunk, and the chunk

    void lay_out(Arena& arena, const Recurrence<S>& net, const Task& task) {
        back.lay_out(arena, net, task.chunk_rows, task.block_rows);
        states = arena.take<S>((task.block_rows + task.chunk_rows) * row_stride<S>(net.d));
    }
};

template <class S>
void backward_block(const Block& block, const BackwardCall<S>& call, const Weights<S>& weights, const LayerArrays<S>& arrays,
                    const Sums<S>& sums, bool fresh) {
    const Recurrence<S>& net = call.net;
    const Index stride = row_stride<S>(net.d);
    for (Index i = block.chunks - 1; i >= 0; --i) {
        const Chunk chunk(block, i);
        S* const states = arrays.states + chunk.alive(chunk.first) * stride;
        read_states(chunk, net, call.states, arrays.states);
        arrays.back.advance(chunk, net.d);
        SlotRows<S> dstates = packed_slots<S>(arrays.back.delta, net.d);
        if (call.dstates) dstates = read_slots(chunk, call.dstates, net.d, true, arrays.back.delta);
        else fill_zero(arrays.back.delta, chunk.rows() * stride);
        backward_chunk(chunk, net, weights, dstates, call.dfinal, arrays.states, states, arrays.back,
                       {sums, call.delta, call.dx, fresh});
        fresh = false;
    }
    if (call.ds0) write_initial_gradient(block, weights, call.dfinal, arrays.back.delta, arrays.states, call.ds0);
    if (call.delta) clear_padding(block, net.T, net.d, call.delta);
    if (call.dx) clear_padding(block, net.T, net.n, call.dx);
}

template <class S>
void backward(const BackwardCall<S>& call) {
    const Recurrence<S>& net = call.net;
    const Index inputs = net.symbols ? 1 : net.n;
    const Plan plan(net, net.threads, 2 * net.d * (net.d + inputs));
    const bool dx = static_cast<bool>(call.dx);
    const bool back = net.T > 1 || call.ds0;
    const WeightUse use{.forward = false, .backward = back, .inputs = dx, .output = false, .upstream = false};
    Workspace<Weights<S>> weights(net, use, Index{0});
    weights.parts.pack(net, use, nullptr, nullptr);
    const Sums<S> out{.dU = call.dU, .dW = call.dW, .db = call.db, .dV = nullptr, .dc = nullptr, .stride = net.d};
    const Workspace<AllSums<S>> sums(net, Index{0}, plan.count, out);
    parallel_for(plan.threads, plan.count, [&](Index q) {
        const Task& task = plan.tasks[q];
        const Sums<S>& own = sums.parts.of_task[q];
        const Workspace<LayerArrays<S>> arrays(net, task);
        own.start(task, net, 0);
        arrays.parts.back.start(net);
        for (const Block* block = task.begin; block != task.end; ++block)
            backward_block(*block, call, weights.parts, arrays.parts, own, block == task.begin);
    });
    add_all_tasks(sums.parts.of_task, plan, net.n, net.d, Index{0}, out);
}

}  // namespace throughtime::THROUGHTIME_ISA
