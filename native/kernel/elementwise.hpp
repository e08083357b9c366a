// Elementwise instructions over strips: some rows of some units, which stay in the L1 cache from one instruction to the next.
// What an operation means stands in throughtime/programs/program.py.
#pragma once

#include "../program.hpp"
#include "functions.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// One instruction's work. Operand k of row r begins at in[k] + r * in_row[k]; with spread[k] its first vector serves all units.
template <class S>
struct Strip {
    S* out;
    Index out_row;
    const S* in[3];
    Index in_row[3];
    Index unit[3];  // 1, or 0 where one number serves all units
    Index rows, width;
};

template <class S, class Function>
THROUGHTIME_INLINE void each(const Strip<S>& s, Function function) {
    constexpr int count = Function::count;
    S* out = s.out;
    const S* in[count];
    for (int k = 0; k < count; ++k) in[k] = s.in[k];
    for (Index r = 0; r < s.rows; ++r) {
        for (Index j = 0; j < s.width; j += lanes<S>) {
            if constexpr (count == 1) store(out + j, function(load(in[0] + j * s.unit[0])));
            if constexpr (count == 2) store(out + j, function(load(in[0] + j * s.unit[0]), load(in[1] + j * s.unit[1])));
            if constexpr (count == 3)
                store(out + j, function(load(in[0] + j * s.unit[0]), load(in[1] + j * s.unit[1]), load(in[2] + j * s.unit[2])));
        }
        out += s.out_row;
        for (int k = 0; k < count; ++k) in[k] += s.in_row[k];
    }
}

/// The same with the number of operands as a part of the type.
template <int Count, class Function>
struct OfOperands : Function {
    static constexpr int count = Count;
};
template <int Count, class Function>
THROUGHTIME_INLINE OfOperands<Count, Function> of(Function function) {
    return {function};
}

/// One number for each row, in all lanes of a vector: begin(first vector), join(vectors), finish.
template <class S, class Join>
THROUGHTIME_INLINE void reduce(const Strip<S>& s, S neutral, Join join) {
    for (Index r = 0; r < s.rows; ++r) {
        const S* in = s.in[0] + r * s.in_row[0];
        Vector<S> all = broadcast<S>(neutral);
        Index j = 0;
        for (; j + lanes<S> <= s.width; j += lanes<S>) all = join(all, load(in + j));
        if (j < s.width) {
            Vector<S> rest = broadcast<S>(neutral);
            for (Index i = 0; j + i < s.width; ++i) rest[i] = in[j + i];
            all = join(all, rest);
        }
        Vector<S> one = broadcast<S>(all[0]);
        for (Index i = 1; i < lanes<S>; ++i) one = join(one, broadcast<S>(all[i]));
        store(s.out + r * s.out_row, one);
    }
}

/// 1 where true, else 0.
template <class S, class Truth>
THROUGHTIME_INLINE Vector<S> number_of(Truth truth) {
    return truth ? broadcast<S>(S(1)) : Vector<S>{};
}

template <class S>
void spread(const Strip<S>& s) {
    constexpr Index line = 64 / sizeof(S);
    for (Index r = 0; r < s.rows; ++r) {
        const Vector<S> value = broadcast<S>(s.in[0][r * s.in_row[0]]);
        for (Index j = 0; j < line; j += lanes<S>) store(s.out + r * s.out_row + j, value);
    }
}

template <class S>
[[gnu::noinline]] void execute(Operation operation, const Strip<S>& s) {
    using V = Vector<S>;
    const V one = broadcast<S>(S(1)), zero{};
    switch (operation) {
        case Operation::copy: return each(s, of<1>([](V x) { return x; }));
        case Operation::neg: return each(s, of<1>([](V x) { return -x; }));
        case Operation::abs: return each(s, of<1>([](V x) { return magnitude<S>(x); }));
        case Operation::sign:  // NaN has no sign: 0, as in PyTorch
            return each(s, of<1>([=](V x) { return x > S(0) ? one : x < S(0) ? -one : zero; }));
        case Operation::reciprocal: return each(s, of<1>([](V x) { return S(1) / x; }));
        case Operation::sqrt: return each(s, of<1>([](V x) { return square_root<S>(x); }));
        case Operation::rsqrt: return each(s, of<1>([](V x) { return S(1) / square_root<S>(x); }));
        case Operation::exp: return each(s, of<1>([](V x) { return exp_everywhere<S>(x); }));
        case Operation::expm1: return each(s, of<1>([](V x) { return exp_minus_1<S>(x); }));
        case Operation::log: return each(s, of<1>([](V x) { return log<S>(x); }));
        case Operation::log1p: return each(s, of<1>([](V x) { return log_of_1_plus<S>(x); }));
        case Operation::sin: return each(s, of<1>([](V x) { return sine<S>(x); }));
        case Operation::cos: return each(s, of<1>([](V x) { return cosine<S>(x); }));
        case Operation::erf: return each(s, of<1>([](V x) { return error_function<S>(x); }));
        case Operation::sigmoid: return each(s, of<1>([](V x) { return logistic<S>(x); }));
        case Operation::tanh: return each(s, of<1>([](V x) { return tanh<S>(x); }));
        case Operation::relu: return each(s, of<1>([](V x) { return x < S(0) ? V{} : x; }));
        case Operation::logical_not: return each(s, of<1>([](V x) { return number_of<S>(x == S(0)); }));
        case Operation::row_sum: return reduce<S>(s, S(0), [](V x, V y) { return x + y; });
        case Operation::row_max:
            return reduce<S>(s, -__builtin_inff(), [](V x, V y) { return x != x || x > y ? x : y; });
        case Operation::spread: return spread(s);
        case Operation::add: return each(s, of<2>([](V x, V y) { return x + y; }));
        case Operation::sub: return each(s, of<2>([](V x, V y) { return x - y; }));
        case Operation::mul: return each(s, of<2>([](V x, V y) { return x * y; }));
        case Operation::div: return each(s, of<2>([](V x, V y) { return x / y; }));
        case Operation::pow: return each(s, of<2>([](V x, V y) { return power<S>(x, y); }));
        case Operation::minimum: return each(s, of<2>([](V x, V y) { return x != x || x < y ? x : y; }));
        case Operation::maximum: return each(s, of<2>([](V x, V y) { return x != x || x > y ? x : y; }));
        case Operation::gt: return each(s, of<2>([](V x, V y) { return number_of<S>(x > y); }));
        case Operation::lt: return each(s, of<2>([](V x, V y) { return number_of<S>(x < y); }));
        case Operation::ge: return each(s, of<2>([](V x, V y) { return number_of<S>(x >= y); }));
        case Operation::le: return each(s, of<2>([](V x, V y) { return number_of<S>(x <= y); }));
        case Operation::eq: return each(s, of<2>([](V x, V y) { return number_of<S>(x == y); }));
        case Operation::ne: return each(s, of<2>([](V x, V y) { return number_of<S>(x != y); }));
        case Operation::logical_and: return each(s, of<2>([=](V x, V y) { return x != S(0) ? number_of<S>(y != S(0)) : zero; }));
        case Operation::logical_or: return each(s, of<2>([=](V x, V y) { return x != S(0) ? one : number_of<S>(y != S(0)); }));
        case Operation::sigmoid_backward: return each(s, of<2>([](V g, V y) { return g * (y * (S(1) - y)); }));
        case Operation::tanh_backward: return each(s, of<2>([](V g, V y) { return g * (S(1) - y * y); }));
        case Operation::relu_backward: return each(s, of<2>([](V g, V y) { return y <= S(0) ? V{} : g; }));
        case Operation::where: return each(s, of<3>([](V truth, V x, V y) { return truth != S(0) ? x : y; }));
        case Operation::clamp:  // the lower bound first, NaN stays NaN
            return each(s, of<3>([](V x, V low, V high) {
                const V above = x < low ? low : x;
                return above > high ? high : above;
            }));
    }
}

}  // namespace throughtime::THROUGHTIME_ISA
