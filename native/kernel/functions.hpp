// Further functions of programs, on vectors.
//
//     log x      = e ln 2 + log(1 + f),   x = 2^e (1 + f),  1 + f from sqrt(1/2) to sqrt(2),   s = f / (2 + f),  z = s^2
//     log(1 + f) = f - s (f - R),         R = 2 z (1/3 + z/5 + z^2/7 + ...)
//     log1p x    = log u + (x - (u - 1)) / u,   u = 1 + x
//     expm1 x    = 2^m p(r) + (2^m - 1)         as exp in maths.hpp
//
// The others call the C library lane by lane. Errors: see tests/native/test_kernel_maths.py. NaN stays NaN.
#pragma once

#include "maths.hpp"

namespace throughtime::THROUGHTIME_ISA {

template <class S, class Function>
THROUGHTIME_INLINE Vector<S> by_lane(Vector<S> x, Function function) {
    for (Index i = 0; i < lanes<S>; ++i) x[i] = function(x[i]);
    return x;
}

#define THROUGHTIME_BY_LANE(name, builtin)                                            \
    template <class S>                                                                \
    THROUGHTIME_INLINE Vector<S> name(Vector<S> x) {                                  \
        if constexpr (sizeof(S) == 4) return by_lane<S>(x, [](S v) { return __builtin_##builtin##f(v); }); \
        else return by_lane<S>(x, [](S v) { return __builtin_##builtin(v); });        \
    }

THROUGHTIME_BY_LANE(square_root, sqrt)
THROUGHTIME_BY_LANE(sine, sin)
THROUGHTIME_BY_LANE(cosine, cos)
THROUGHTIME_BY_LANE(error_function, erf)

/// e^x for every x: infinity where it is too large.
template <class S>
THROUGHTIME_INLINE Vector<S> exp_everywhere(Vector<S> x) {
    constexpr S most = sizeof(S) == 4 ? S(88) : S(709);
    const auto large = x > most;
    // the last octave in two steps
    const Vector<S> half = x * S(0.5), root = exp<S>(half > most ? broadcast<S>(most) : half);
    return large ? root * root : exp<S>(large ? Vector<S>{} : x);
}

/// e^x - 1
template <class S>
THROUGHTIME_INLINE Vector<S> exp_minus_1(Vector<S> x) {
    constexpr S most = sizeof(S) == 4 ? S(88) : S(709);
    const auto large = x > most, vanishes = x < Constants<S>::exp_least;
    const Exponential<S> e = exponential<S>(large || vanishes ? Vector<S>{} : x);
    const Vector<S> near = e.scale * e.p + (e.scale - S(1));
    return large ? exp_everywhere<S>(x) : vanishes ? broadcast<S>(S(-1)) : x == S(0) ? x : near;
}

/// 2 / 3, 2 / 5, ...
template <class S>
struct LogTerms;
template <>
struct LogTerms<float> {
    static constexpr float terms[] = {2.f / 3, 2.f / 5, 2.f / 7, 2.f / 9, 2.f / 11};
};
template <>
struct LogTerms<double> {
    static constexpr double terms[] = {2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15, 2. / 17, 2. / 19, 2. / 21, 2. / 23};
};

/// log x + `more`, which is small; for x > 0, finite and not denormal.
template <class S>
THROUGHTIME_INLINE Vector<S> log_of_normal(Vector<S> x, Vector<S> more) {
    using C = Constants<S>;
    constexpr auto root = sizeof(S) == 4 ? 0x3f3504f3u : 0x3fe6a09e667f3bcdu;  // sqrt(1/2)
    using Word = typename std::remove_reference<decltype(std::declval<Bits<S>>()[0])>::type;
    const Bits<S> shifted = (Bits<S>)x - Word(root);
    const Bits<S> exponent = shifted >> C::mantissa;
    const Bits<S> fraction = (shifted & ((Word(1) << C::mantissa) - 1)) + Word(root);
    // A small whole number as the low bits of a large one: negative exponents wrap around.
    constexpr Word bias = sizeof(S) == 4 ? Word(1) << 8 : Word(1) << 11;
    const Bits<S> low = (exponent + bias / 2) & (bias * 2 - 1);
    const Vector<S> e = ((Vector<S>)((Bits<S>)broadcast<S>(C::round) | low) - C::round) - S(bias / 2);
    const Vector<S> f = (Vector<S>)fraction - S(1);
    const Vector<S> s = f / (S(2) + f), z = s * s;
    const Vector<S> R = z * polynomial<S>(z, LogTerms<S>::terms);
    return e * C::ln2_high - ((s * (f - R) - (e * C::ln2_low + more)) - f);
}

/// log for the arguments where log_of_normal does not hold.
template <class S>
THROUGHTIME_INLINE Vector<S> log_at_ends(Vector<S> x, Vector<S> found) {
    constexpr S least = sizeof(S) == 4 ? S(1.17549435e-38f) : S(2.2250738585072014e-308), infinity = __builtin_inff();
    const Vector<S> low = x < S(0) ? broadcast<S>(S(__builtin_nanf(""))) : broadcast<S>(-infinity);
    return x < least ? low : x < infinity ? found : x;
}

template <class S>
THROUGHTIME_INLINE Vector<S> log(Vector<S> x) {
    return log_at_ends<S>(x, log_of_normal<S>(x, Vector<S>{}));
}

/// log(1 + x)
template <class S>
THROUGHTIME_INLINE Vector<S> log_of_1_plus(Vector<S> x) {
    const Vector<S> u = S(1) + x;
    const Vector<S> lost = x - (u - S(1));
    const Vector<S> found = log_at_ends<S>(u, log_of_normal<S>(u, lost / u));
    return magnitude<S>(x) < S(sizeof(S) == 4 ? 1e-7 : 1e-16) ? x : found;  // u may be 1
}

template <class S>
THROUGHTIME_INLINE Vector<S> power(Vector<S> x, Vector<S> y) {
    for (Index i = 0; i < lanes<S>; ++i) {
        if constexpr (sizeof(S) == 4) x[i] = __builtin_powf(x[i], y[i]);
        else x[i] = __builtin_pow(x[i], y[i]);
    }
    return x;
}

}  // namespace throughtime::THROUGHTIME_ISA
