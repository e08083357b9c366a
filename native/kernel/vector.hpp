// Vectors of one instruction set, in the compiler's own vector extension.
//
// Everything in native/kernel is compiled once per instruction set, each time in a namespace of its own name, so that the
// linker can never give a machine a function compiled for another. The build defines
//     THROUGHTIME_ISA           that name: baseline, avx2, avx512 or neon
//     THROUGHTIME_VECTOR_BYTES  bytes of a vector register
//     THROUGHTIME_TILE_ROWS     rows of the largest register tile (see tile.hpp)
#pragma once

#include <cstring>
#include <utility>

#include "../problem.hpp"

#if defined(__clang__)
#define THROUGHTIME_UNROLL _Pragma("clang loop unroll(full)")
#else
#define THROUGHTIME_UNROLL _Pragma("GCC unroll 32")
#endif
#define THROUGHTIME_INLINE [[gnu::always_inline]] inline

namespace throughtime::THROUGHTIME_ISA {

template <class S>
struct VectorTypes;

template <>
struct VectorTypes<float> {
    typedef float vector __attribute__((vector_size(THROUGHTIME_VECTOR_BYTES)));
    typedef float unaligned __attribute__((vector_size(THROUGHTIME_VECTOR_BYTES), aligned(4), may_alias));
    typedef std::uint32_t bits __attribute__((vector_size(THROUGHTIME_VECTOR_BYTES)));
};

template <>
struct VectorTypes<double> {
    typedef double vector __attribute__((vector_size(THROUGHTIME_VECTOR_BYTES)));
    typedef double unaligned __attribute__((vector_size(THROUGHTIME_VECTOR_BYTES), aligned(8), may_alias));
    typedef std::uint64_t bits __attribute__((vector_size(THROUGHTIME_VECTOR_BYTES)));
};

template <class S>
using Vector = typename VectorTypes<S>::vector;
template <class S>
using Bits = typename VectorTypes<S>::bits;

/// Numbers in a vector.
template <class S>
inline constexpr Index lanes = THROUGHTIME_VECTOR_BYTES / sizeof(S);

template <class S>
THROUGHTIME_INLINE Vector<S> load(const S* p) {
    return *reinterpret_cast<const typename VectorTypes<S>::unaligned*>(p);
}

template <class S>
THROUGHTIME_INLINE void store(S* p, Vector<S> v) {
    *reinterpret_cast<typename VectorTypes<S>::unaligned*>(p) = v;
}

template <class S>
THROUGHTIME_INLINE Vector<S> broadcast(S x) {
    return x - Vector<S>{};  // x - 0 is x for every x, -0 included; x + 0 is not
}

template <class S>
THROUGHTIME_INLINE Vector<S> largest(Vector<S> a, Vector<S> b) {
    return a > b ? a : b;
}

template <class S, int Half, int... Lane>
THROUGHTIME_INLINE void swap_halves(Vector<S>& a, Vector<S>& b, std::integer_sequence<int, Lane...>) {
    constexpr int L = lanes<S>;
    const Vector<S> first = __builtin_shufflevector(a, b, (Lane & Half ? L + Lane - Half : Lane)...);
    b = __builtin_shufflevector(a, b, (Lane & Half ? L + Lane : Lane + Half)...);
    a = first;
}

/// Transposes a square of vectors: quadrants are exchanged at every scale.
template <class S, int Half = lanes<S> / 2>
THROUGHTIME_INLINE void transpose(Vector<S> (&rows)[lanes<S>]) {
    if constexpr (Half > 0) {
        THROUGHTIME_UNROLL
        for (int i = 0; i < lanes<S>; ++i)
            if (!(i & Half)) swap_halves<S, Half>(rows[i], rows[i + Half], std::make_integer_sequence<int, lanes<S>>{});
        transpose<S, Half / 2>(rows);
    }
}

/// A number at least as large, and a multiple of `unit`.
THROUGHTIME_INLINE constexpr Index round_up(Index count, Index unit) { return (count + unit - 1) / unit * unit; }

THROUGHTIME_INLINE constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }

THROUGHTIME_INLINE constexpr Index larger(Index a, Index b) { return a > b ? a : b; }

/// Width at which rows of `count` numbers are computed: whole vectors.
template <class S>
THROUGHTIME_INLINE constexpr Index padded(Index count) {
    return round_up(count, lanes<S>);
}

/// Distance between rows of `count` numbers in scratch memory: from four cache lines on, an odd number of them, because
/// rows at a distance of a power of two would compete for the same few sets of the cache.
template <class S>
THROUGHTIME_INLINE constexpr Index row_stride(Index count) {
    constexpr Index line = 64 / sizeof(S);
    const Index cache_lines = (padded<S>(count) + line - 1) / line;
    return (cache_lines >= 4 ? cache_lines | 1 : cache_lines) * line;
}

}  // namespace throughtime::THROUGHTIME_ISA
