// exp and tanh on vectors.
//
//     exp(x)  = 2^m (1 + p(r)),   m = round(x / ln 2),  r = x - m ln 2,  p(r) = e^r - 1
//     tanh(x) = x + x^3 q(x^2)                     for |x| < 3/4
//             = 1 - 2 / (e^{2|x|} + 1), signed     otherwise, with e^y + 1 = 2^m p(r) + (2^m + 1): one rounding, not two
//
// p and q are minimax polynomials of the relative error (Remez exchange), found in 60 digits. The reduction by ln 2 in two
// parts follows Cody and Waite (1980). Errors, over the full range: see tests/native/test_maths.py, which measures them.
// NaN stays NaN.
#pragma once

#include "vector.hpp"

namespace throughtime::THROUGHTIME_ISA {

template <class S>
struct Constants;

template <>
struct Constants<float> {
    static constexpr int mantissa = 23;
    static constexpr std::uint32_t sign = 0x80000000u;
    static constexpr float round = 0x1.8p23f;  // adding it rounds to an integer, kept in the low bits
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float exp_least = -87.3f;   // below, exp is 0 (it would be denormal)
    static constexpr float tanh_flat = 9.5f;     // above, tanh is 1
    static constexpr float exp_terms[] = {0.49999993513873523855f, 0.16666520866928467744f, 0.041668380473310036738f,
                                          0.0083687099051332517597f, 0.0013814837169803382325f};
    static constexpr float tanh_terms[] = {-0.33333315542107100953f, 0.13332702602664556451f, -0.053893330688126561128f,
                                           0.021453994369148498577f, -0.0076602030090849703453f, 0.0017386120459066143541f};
};

template <>
struct Constants<double> {
    static constexpr int mantissa = 52;
    static constexpr std::uint64_t sign = 0x8000000000000000u;
    static constexpr double round = 0x1.8p52;
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr double exp_least = -708.3;
    static constexpr double tanh_flat = 20.0;
    static constexpr double exp_terms[] = {
        0.49999999999999999979,     0.16666666666666666735,     0.041666666666666705597,    0.0083333333333332701285,
        0.0013888888888866443941,   0.00019841269841473400123,  0.000024801587359556521204, 2.7557318932602048031e-6,
        2.7557244545048561858e-7,   2.5052290620394975819e-8,   2.0923699596531951683e-9,   1.6028642767209668236e-10};
    static constexpr double tanh_terms[] = {
        -0.33333333333333330019,   0.13333333333332768944,    -0.053968253967924210279, 0.021869488526491243172,
        -0.0088632353624179401905, 0.003592126157606566175,   -0.0014558199755828471458, 0.00058994927769378693865,
        -0.00023882336821426434741, 0.000096045135443568669158, -0.000037477005993327676823, 0.000013233452406814671597,
        -3.6193049145484230102e-6, 5.4300733919829678564e-7};
};

/// terms[0] + terms[1] x + terms[2] x^2 + ...
template <class S, Index Count>
THROUGHTIME_INLINE Vector<S> polynomial(Vector<S> x, const S (&terms)[Count]) {
    Vector<S> sum = broadcast<S>(terms[Count - 1]);
    THROUGHTIME_UNROLL
    for (Index i = Count - 2; i >= 0; --i) sum = sum * x + terms[i];
    return sum;
}

/// e^x = scale * (1 + p).
template <class S>
struct Exponential {
    Vector<S> scale, p;
};

/// For x from exp_least to 88 (float) or 709 (double).
template <class S>
THROUGHTIME_INLINE Exponential<S> exponential(Vector<S> x) {
    using C = Constants<S>;
    const Vector<S> rounded = x * S(1.44269504088896340736) + C::round;
    const Vector<S> m = rounded - C::round;
    Vector<S> r = x - m * C::ln2_high;
    r = r - m * C::ln2_low;
    const Bits<S> scale = ((Bits<S>)rounded << C::mantissa) + (Bits<S>)broadcast<S>(S(1));
    return {(Vector<S>)scale, r + r * r * polynomial<S>(r, C::exp_terms)};
}

/// e^x for x <= 88 (float) or 709 (double); 0 where it would be denormal.
template <class S>
THROUGHTIME_INLINE Vector<S> exp(Vector<S> x) {
    const auto vanishes = x < Constants<S>::exp_least;
    const Exponential<S> e = exponential<S>(vanishes ? broadcast<S>(Constants<S>::exp_least) : x);
    return vanishes ? Vector<S>{} : e.scale * e.p + e.scale;
}

/// |x|
template <class S>
THROUGHTIME_INLINE Vector<S> magnitude(Vector<S> x) {
    return (Vector<S>)((Bits<S>)x & ~Constants<S>::sign);
}

template <class S>
THROUGHTIME_INLINE Vector<S> tanh(Vector<S> x) {
    using C = Constants<S>;
    const Vector<S> z = x * x;
    const Vector<S> near = x + x * (z * polynomial<S>(z, C::tanh_terms));
    const Vector<S> size = magnitude<S>(x);
    // Numbers without a sign are in the order of their bits, whose smaller is one instruction.
    const Bits<S> bits = (Bits<S>)size, flat = (Bits<S>)broadcast<S>(C::tanh_flat);
    const Vector<S> y = (Vector<S>)(flat < bits ? flat : bits);
    const Exponential<S> e = exponential<S>(y + y);
    const Vector<S> far = S(1) - S(2) / (e.scale * e.p + (e.scale + S(1)));
    const Vector<S> signed_far = (Vector<S>)((Bits<S>)far | ((Bits<S>)x & C::sign));
    return size >= S(0.75) ? signed_far : near;  // NaN is near
}

/// 1 / (1 + e^-x), without the loss of small values at negative x.
template <class S>
THROUGHTIME_INLINE Vector<S> logistic(Vector<S> x) {
    const Vector<S> e = exp<S>(-magnitude<S>(x));
    return (x < S(0) ? e : broadcast<S>(S(1))) / (S(1) + e);
}

}  // namespace throughtime::THROUGHTIME_ISA
