// What a call asks for: sizes, views of the caller's memory, options. No behaviour, and nothing of any instruction set.
//
// Notation: T steps, B rows (sequences), n inputs, d states, k classes; S is float or double. A "slot" tau of a row is its
// state after tau of its steps (slot 0 is s_0), whichever direction the row is walked in.
// The few inline functions are always inlined: a copy compiled for one instruction set must not serve another.
// Nothing in this file owns memory: every pointer belongs to the caller and outlives the call.
#pragma once

#include <cstddef>
#include <cstdint>

namespace throughtime {

using Index = std::ptrdiff_t;

enum class Nonlinearity { tanh, relu, logistic, identity };
inline constexpr Index ignored_label = -100;

/// A [T, B, width] array: row b of step t begins at data + t * step + b * row; its elements are contiguous.
template <class S>
struct Series {
    S* data = nullptr;  // null: absent
    Index step = 0;
    Index row = 0;

    [[gnu::always_inline]] S* at(Index t, Index b) const { return data + t * step + b * row; }
    [[gnu::always_inline]] explicit operator bool() const { return data != nullptr; }
};

/// A [B, width] array: row b begins at data + b * row.
template <class S>
struct Rows {
    S* data = nullptr;  // null: absent
    Index row = 0;

    [[gnu::always_inline]] S* or_null(Index b) const { return data ? at(b) : nullptr; }
    [[gnu::always_inline]] S* at(Index b) const { return data + b * row; }
    [[gnu::always_inline]] explicit operator bool() const { return data != nullptr; }
};

/// The rows and steps that a call walks. Where `starts` marks steps, each row falls into pieces that begin there (in time),
/// each walked as a row of its own.
struct Extent {
    Index T, B;
    const std::int64_t* lengths;  // [B] in 0 .. T, or null for T
    Series<const bool> starts;    // [T, B], or absent
    bool reverse;                 // from the last step of each piece to its first
};

/// The recurrence s_t = sigma(U x_t + W s_{t-1} + b), common to all calls; `starts` is absent, rows in pieces go by a program.
template <class S>
struct Recurrence : Extent {
    Index n, d;
    Series<const S> x;                   // [T, B, n], or absent where symbols are given
    Series<const std::int64_t> symbols;  // [T, B] in 0 .. n - 1, or absent
    const S* U;                          // [d, n] contiguous
    const S* W;                          // [d, d] contiguous
    const S* b;                          // [d], or null for none
    const S* b_hh;                       // [d], to be added to b; or null for none
    Rows<const S> s0;                    // [B, d], or absent for zero
    Nonlinearity nonlinearity;
    int threads;
};

/// forward: every state and each row's last one.
template <class S>
struct ForwardCall {
    Recurrence<S> net;
    Series<S> states;  // out [T, B, d]; zero in the padding
    Rows<S> final;     // out [B, d]
};

/// gradients: the backward sweep and what it is contracted to. An output that is null is not computed.
template <class S>
struct BackwardCall {
    Recurrence<S> net;
    Series<const S> states;   // [T, B, d] of the forward call; any strides, 0 included
    Series<const S> dstates;  // [T, B, d], or absent for zero
    Rows<const S> dfinal;     // [B, d], or absent for zero
    Series<S> delta;          // out [T, B, d]; zero in the padding
    Series<S> dx;             // out [T, B, n]; zero in the padding
    S* dU;                    // out [d, n] contiguous
    S* dW;                    // out [d, d] contiguous
    S* db;                    // out [d]
    Rows<S> ds0;              // out [B, d]
};

/// learning_step: cross-entropy of softmax(V s_t + c) and, where dW is given, the gradients of all parameters.
template <class S>
struct StepCall {
    Recurrence<S> net;
    Index k;
    const S* V;                    // [k, d] contiguous
    const S* c;                    // [k]
    Series<const std::int64_t> y;  // [T, B] in 0 .. k - 1, or ignored_label
    bool per_token;                // divide the loss by the counted steps, not by B
    Rows<S> final;                 // out [B, d], or absent
    Series<S> dx;                  // out [T, B, n], or absent
    S* dU;                         // out [d, n]; null (with the four below): the loss alone is wanted
    S* dW;                         // out [d, d]
    S* db;                         // out [d]
    S* dV;                         // out [k, d]
    S* dc;                         // out [k]
    Rows<S> ds0;                   // out [B, d], or absent
    double* loss;                  // out: one number
};

/// readout: cross-entropy of softmax(V s + c) over any rows, and its gradients. What is null is not computed.
template <class S>
struct ReadoutCall {
    Index N, d, k;
    Rows<const S> states;        // [N, d]
    const S* V;                  // [k, d] contiguous
    const S* c;                  // [k], or null for none
    const std::int64_t* labels;  // [N] in 0 .. k - 1, or ignored
    const S* weights;            // [k] of the classes, or null for 1
    std::int64_t ignored;
    double smoothing;
    double divisor;              // of the loss; 0: the weights of the labels that count, all together
    const S* row_scales;         // [N] what the gradient of each row's loss is multiplied by; or null, as `divisor` says
    S* losses;                   // out [N]
    Rows<S> dstates;             // out [N, d]
    S* dV;                       // out [k, d]
    S* dc;                       // out [k]
    double* loss;                // out: one number
    int threads;

    [[gnu::always_inline]] bool learn() const { return dstates || dV || dc; }
};

template <class S>
struct ProgramCall;  // see program.hpp

/// What one instruction set offers for one scalar type.
template <class S>
struct Kernels {
    void (*forward)(const ForwardCall<S>&);
    void (*backward)(const BackwardCall<S>&);
    void (*learning_step)(const StepCall<S>&);
    void (*readout)(const ReadoutCall<S>&);
    void (*program_forward)(const ProgramCall<S>&);
    void (*program_backward)(const ProgramCall<S>&);
    void (*exp)(const S* x, S* y, Index count);   // elementwise, for the tests of accuracy
    void (*apply)(Nonlinearity, const S* x, S* y, Index count);
};

/// One compiled copy of the kernel.
struct Engine {
    const char* name;  // "baseline", "avx2", "avx512", "neon"
    Kernels<float> f32;
    Kernels<double> f64;
};

}  // namespace throughtime
