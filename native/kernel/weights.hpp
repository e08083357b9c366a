// The parameters, packed once per call for the products that need them, and read by all threads.
#pragma once

#include "../pool.hpp"
#include "arena.hpp"
#include "multiply.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Which packed forms a call needs.
struct WeightUse {
    bool forward;    // U and W as they act on x and s
    bool backward;   // W as it acts on delta
    bool inputs;     // U as it acts on delta, for dx
    bool output;     // V as it acts on s
    bool upstream;   // V as it acts on the errors
};

/// Rows of a call, all steps together, up to which it does not pay to pack a weight that each of them meets once.
inline constexpr Index few_transposed = 3;
inline constexpr Index few_in_place = 32;

/// Products take a right-hand side K x N: the weight of state j on input k, say, is element (k, j) of `input`.
template <class S>
struct Weights {
    Index n, d, k;
    Weight<S> input;          // Uᵀ [n, d]
    Weight<S> recurrent;      // Wᵀ [d, d]
    Panels<S> back{};         // W  [d, d]
    Panels<S> to_inputs{};    // U  [d, n]
    Panels<S> output{};       // Vᵀ [d, k]
    Panels<S> from_output{};  // V  [k, d]
    S* bias = nullptr;        // [padded d]; zero beyond d, or everywhere if there is none
    S* output_bias = nullptr; // [padded k]; so low beyond k that softmax gives those classes nothing
    S* table = nullptr;       // [n, row_stride(d)]: U's column of each symbol, plus b
    S* zeros = nullptr;       // [padded max(n, d)]

    S *input_, *recurrent_, *back_, *to_inputs_, *output_, *from_output_;  // the memory behind the panels

    void lay_out(Arena& arena, const Recurrence<S>& net, const WeightUse& use, Index classes) {
        n = net.n, d = net.d, k = classes;
        const bool symbols = static_cast<bool>(net.symbols);
        bias = arena.take<S>(padded<S>(d));
        zeros = arena.take<S>(padded<S>(larger(n, d)));
        output_bias = arena.take<S>(use.output ? padded<S>(k) : 0);
        table = arena.take<S>(use.forward && symbols ? n * row_stride<S>(d) : 0);
        input_ = arena.take<S>(use.forward && pack_forward(net) && !symbols ? packed_size<S>(n, d) : 0);
        recurrent_ = arena.take<S>(use.forward && recurs(net) && pack_forward(net) ? packed_size<S>(d, d) : 0);
        back_ = arena.take<S>(use.backward && pack_back(net) ? packed_size<S>(d, d) : 0);
        to_inputs_ = arena.take<S>(use.inputs ? packed_size<S>(d, n) : 0);
        output_ = arena.take<S>(use.output ? packed_size<S>(d, k) : 0);
        from_output_ = arena.take<S>(use.upstream ? packed_size<S>(k, d) : 0);
    }

    /// `V`, `c`: null where the call has no output layer.
    void pack(const Recurrence<S>& net, const WeightUse& use, const S* V, const S* c) {
        const FlushToZero mode;
        fill_zero(zeros, padded<S>(larger(n, d)));
        fill_zero(bias, padded<S>(d));
        if (net.b) copy_row(bias, net.b, d);
        for (Index j = 0; net.b_hh && j < d; ++j) bias[j] += net.b_hh[j];
        if (use.forward && net.symbols) fill_table(net.U);
        else if (use.forward) input = weight(net, net.U, n, input_);
        if (use.forward && recurs(net)) recurrent = weight(net, net.W, d, recurrent_);
        if (use.backward) back = pack_back(net) ? pack_rows(net.W, d, d, back_) : in_place(net.W, d);
        if (use.inputs) to_inputs = pack_rows(net.U, d, n, to_inputs_);
        if (use.output) {
            output = pack_transposed(V, d, k, output_);
            copy_row(output_bias, c, k);
            for (Index j = k; j < padded<S>(k); ++j) output_bias[j] = S(-1e30);
        }
        if (use.upstream) from_output = pack_rows(V, k, d, from_output_);
    }

  private:
    /// Whether any state follows another.
    static bool recurs(const Recurrence<S>& net) { return net.T > 1 || net.s0; }
    static bool pack_forward(const Recurrence<S>& net) { return net.T * net.B > few_transposed; }
    static bool pack_back(const Recurrence<S>& net) { return net.T * net.B > few_in_place || net.d % lanes<S> != 0; }

    /// W [d, K] for the way forward.
    Weight<S> weight(const Recurrence<S>& net, const S* W, Index K, S* memory) const {
        if (!pack_forward(net)) return {{}, W};
        return {pack_transposed(W, K, d, memory), nullptr};
    }

    void fill_table(const S* U) {
        constexpr Index span = 64 / sizeof(S);  // symbols at a time: a cache line of U
        const Index stride = row_stride<S>(d);
        for (Index i0 = 0; i0 < n; i0 += span)
            for (Index j = 0; j < padded<S>(d); ++j)
                for (Index i = i0; i < smaller(n, i0 + span); ++i)
                    table[i * stride + j] = j < d ? bias[j] + U[j * n + i] : S(0);
    }
};

}  // namespace throughtime::THROUGHTIME_ISA
