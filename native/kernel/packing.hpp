// The matrices and parameters of a program, packed once per call for the products that need them, and read by all threads.
#pragma once

#include "../pool.hpp"
#include "../program.hpp"
#include "arena.hpp"
#include "multiply.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Where element (k, j) of a packed K x N right-hand side lies: panels of two vectors (see pack_rows).
template <class S>
THROUGHTIME_INLINE S* packed_at(S* out, Index K, Index k, Index j) {
    constexpr Index width = 2 * lanes<S>;
    return out + j / width * width * K + k * width + j % width;
}

/// Packs the columns of one run, matrix rows `from` to `from + width - 1` at columns `to`: out(k, to + j) = M[from + j, k].
template <class S>
void pack_run_transposed(const S* M, Index ld, Index K, const Run& run, S* out) {
    for (Index j = 0; j < run.width; j += lanes<S>)
        for (Index k = 0; k < K; k += lanes<S>) {
            Vector<S> square[lanes<S>];
            load_transposed(M + (run.from + j) * ld + k, ld, run.width - j, K - k, square);
            S* to = packed_at(out, K, k, run.to + j);
            for (Index i = 0; i < smaller(lanes<S>, K - k); ++i) store(to + i * 2 * lanes<S>, square[i]);
        }
}

/// The same for out(k, to + j) = M[k, from + j].
template <class S>
void pack_run(const S* M, Index ld, Index K, const Run& run, S* out) {
    for (Index j = 0; j < run.width; j += lanes<S>) {
        const Index columns = smaller(lanes<S>, run.width - j);
        S* to = packed_at(out, K, Index{0}, run.to + j);
        for (Index k = 0; k < K; ++k) {
            S row[lanes<S>] = {};
            const S* from = M + k * ld + run.from + j;
            if (columns == lanes<S>) store(to + k * 2 * lanes<S>, load(from));
            else {
                for (Index q = 0; q < columns; ++q) row[q] = from[q];
                store(to + k * 2 * lanes<S>, load<S>(row));
            }
        }
    }
}

template <class S>
struct PackedProgram {
    S** weights;  // by packing
    S** fixed;    // by place
    S* zeros;     // [widest]

    void lay_out(Arena& arena, const ProgramCall<S>& call) {
        const Code& code = *call.code;
        weights = arena.take<S*>(code.packings.count);
        fixed = arena.take<S*>(code.places.count);
        zeros = arena.take<S>(code.widest);
        for (Index i = 0; i < code.packings.count; ++i) {
            const Packing& p = code.packings[i];
            S* memory = arena.take<S>(p.table ? p.K * row_stride<S>(p.N) : packed_size<S>(p.K, p.N));
            if (weights) weights[i] = memory;
        }
        for (Index i = 0; i < code.places.count; ++i) {
            S* memory = arena.take<S>(code.places[i].home == Home::fixed ? code.places[i].width : 0);
            if (fixed) fixed[i] = memory;
        }
    }

    void pack(const ProgramCall<S>& call) const {
        const FlushToZero mode;
        const Code& code = *call.code;
        fill_zero(zeros, code.widest);
        for (Index i = 0; i < code.packings.count; ++i) pack_one(code, code.packings[i], call.matrices, weights[i]);
        for (Index i = 0; i < code.places.count; ++i)
            if (code.places[i].home == Home::fixed) fill_zero(fixed[i], code.places[i].width);
        for (const Filling& f : code.fillings) {
            S* const to = fixed[f.place] + f.run.to;
            if (f.spread) {
                const S value = f.parameter < 0 ? static_cast<S>(code.numbers[f.run.from]) : call.parameters[f.parameter][f.run.from];
                for (Index j = 0; j < code.places[f.place].width; ++j) fixed[f.place][j] = value;
            } else {
                for (Index j = 0; j < f.run.width; ++j) to[j] += call.parameters[f.parameter][f.run.from + j];
            }
        }
    }

  private:
    static void pack_one(const Code& code, const Packing& p, const S* const* matrices, S* out) {
        const Index ld = p.stride;
        const S* const M = matrices[p.matrix] + p.row * ld + p.column;
        if (p.table) {
            const Index stride = row_stride<S>(p.N);
            fill_zero(out, p.K * stride);
            for (Index q = p.runs.first; q < p.runs.last; ++q) {
                const Run& run = code.runs[q];
                constexpr Index span = 64 / sizeof(S);  // symbols at a time: a cache line of M
                for (Index k0 = 0; k0 < p.K; k0 += span)
                    for (Index j = 0; j < run.width; ++j)
                        for (Index k = k0; k < smaller(p.K, k0 + span); ++k) out[k * stride + run.to + j] = M[(run.from + j) * ld + k];
            }
            return;
        }
        for (Index q = p.runs.first; q < p.runs.last; ++q)
            p.transposed ? pack_run(M, ld, p.K, code.runs[q], out) : pack_run_transposed(M, ld, p.K, code.runs[q], out);
    }
};

}  // namespace throughtime::THROUGHTIME_ISA
