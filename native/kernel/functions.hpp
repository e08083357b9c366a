// Further functions of programs, on vectors. Those without a formula here call the C library lane by lane.
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
THROUGHTIME_BY_LANE(exp_minus_1, expm1)
THROUGHTIME_BY_LANE(log, log)
THROUGHTIME_BY_LANE(log_of_1_plus, log1p)
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

template <class S>
THROUGHTIME_INLINE Vector<S> power(Vector<S> x, Vector<S> y) {
    for (Index i = 0; i < lanes<S>; ++i) {
        if constexpr (sizeof(S) == 4) x[i] = __builtin_powf(x[i], y[i]);
        else x[i] = __builtin_pow(x[i], y[i]);
    }
    return x;
}

}  // namespace throughtime::THROUGHTIME_ISA
