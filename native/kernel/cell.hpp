// The pointwise part of a cell: sigma, and sigma' from the state. The only thing that differs from one cell to the next.
//
// A cell is a type with value(a) = sigma(a) and slope(s) = sigma'(a) as a function of s = sigma(a); the sweeps (sweep.hpp) are
// templates over it. A gated cell would bring more pre-activations per state and its own value and slope, not a sweep.
#pragma once

#include "maths.hpp"

namespace throughtime::THROUGHTIME_ISA {

template <class S>
struct Tanh {
    using Scalar = S;
    THROUGHTIME_INLINE static Vector<S> value(Vector<S> a) { return tanh<S>(a); }
    THROUGHTIME_INLINE static Vector<S> slope(Vector<S> s) { return S(1) - s * s; }
};

template <class S>
struct Relu {
    using Scalar = S;
    THROUGHTIME_INLINE static Vector<S> value(Vector<S> a) { return a < S(0) ? Vector<S>{} : a; }  // NaN stays NaN
    // 1 at NaN, as PyTorch's
    THROUGHTIME_INLINE static Vector<S> slope(Vector<S> s) { return s <= S(0) ? Vector<S>{} : broadcast<S>(S(1)); }
};

template <class S>
struct Logistic {
    using Scalar = S;
    THROUGHTIME_INLINE static Vector<S> value(Vector<S> a) { return logistic<S>(a); }
    THROUGHTIME_INLINE static Vector<S> slope(Vector<S> s) { return s * (S(1) - s); }
};

template <class S>
struct Identity {
    using Scalar = S;
    THROUGHTIME_INLINE static Vector<S> value(Vector<S> a) { return a; }
    THROUGHTIME_INLINE static Vector<S> slope(Vector<S>) { return broadcast<S>(S(1)); }
};

/// Calls visit(cell) with the cell of that nonlinearity.
template <class S, class Visit>
THROUGHTIME_INLINE void with_cell(Nonlinearity which, Visit&& visit) {
    switch (which) {
        case Nonlinearity::tanh: return visit(Tanh<S>{});
        case Nonlinearity::relu: return visit(Relu<S>{});
        case Nonlinearity::logistic: return visit(Logistic<S>{});
        case Nonlinearity::identity: return visit(Identity<S>{});
    }
}

}  // namespace throughtime::THROUGHTIME_ISA
