// A program as the kernel reads it: one direction of it, in flat tables. Made once per program by engines/coding, which
// decides where every vector lies and in which order instructions run. Nothing here depends on sizes of a call or on an
// instruction set. Places and widths count numbers; a table's range is [first, last).
#pragma once

#include "problem.hpp"

namespace throughtime {

inline constexpr Index strip_units = 512;  // numbers of a vector that elementwise instructions work through together, in L1

/// In the order of OPERATIONS in engines/coding.
enum class Operation : Index {
    copy, neg, abs, sign, reciprocal, sqrt, rsqrt, exp, expm1, log, log1p, sin, cos, erf, sigmoid, tanh, relu, logical_not,
    row_sum, row_max, spread,
    add, sub, mul, div, pow, minimum, maximum, gt, lt, ge, le, eq, ne, logical_and, logical_or,
    sigmoid_backward, tanh_backward, relu_backward,
    where, clamp,
};

/// Where the rows of a vector lie.
enum class Home : Index {
    fixed,   // one row that serves all: parameters, numbers
    source,  // the caller's series, where they lie or gathered
    chunk,   // all rows of a chunk
    state,   // the slot before a chunk, then the chunk
    before,  // the state's place `of`, one slot earlier
    slot,    // the rows of one slot
    strip,   // a block of rows within a run of elementwise instructions
};

struct Place {
    Home home;
    Index width;  // of a row, whole cache lines
    Index of;     // before: the place; strip: how many rows
};

/// `width` numbers of the caller's row at `from`, and their place in a row at `to`.
struct Run {
    Index from, to, width;
};

struct Range {
    Index first, last;
};

struct Operand {
    Index place, at;
    Index spread;  // 1: one number, in all lanes of a cache line, serves all units
};

struct Instruction {
    Operation operation;
    Index width;
    Operand out, in[3];
};

/// weight [K, N]: a block of a matrix, or its transpose, with its columns at the places that `runs` gives them. What lies between
/// and behind them is never looked at, nor is what it makes.
struct Packing {
    Index matrix, row, column, stride;  // where the block begins, in a matrix of `stride` columns
    Index transposed;
    Index K, N;
    Index table;  // 1: rows by symbol, at a distance of row_stride(N)
    Range runs;
};

struct Term {
    Index place, at;  // a row of K numbers; for symbols the place of none, -1
    Index K, weight;
};

/// out [N] = init + Σ terms
struct ProductOf {
    Operand out, init;
    Index N;
    Range terms;
};

/// A product, or a run of elementwise instructions.
struct Item {
    Index product;  // -1: none
    Index widest;   // of the run
    Range instructions;
};

/// Parameters in a fixed place: Σ parameter[from .. from + width - 1] at `to`. parameter -1: the number of index `from`.
struct Filling {
    Index place, parameter;
    Run run;
    Index spread;
};

/// Rows that are read from a series into a place.
struct Source {
    Index place, series;
    Index part;     // -1; else what is read is the state before, and slot 0 is this part's initial state
    Index vectors;  // 1: whole vectors are loaded, so that rows must not end before them
    Index uniform;  // 1: a product reads all rows of a chunk, so that they must lie at one distance
    Index as_is;    // 1: the place's row is the caller's
    Range runs;
    Range initial;  // of a row of the part's initial state
};

/// Rows that are written from a place into a series, with zeros in the padding.
struct Sink {
    Index place, series;
    Range runs;
};

/// A part of the state, or of what is carried back.
struct Part {
    Index place;
    Index width;  // of the caller's row
    Range runs;
};

inline constexpr Index ones = -1;        // in the place of a vector: the number 1
inline constexpr Index symbols_of = -2;  // the one-hot vector of a symbol

/// sum [M, N] += Σ rows of A's row [M] x B's row [N]
struct Contraction {
    Index a, a_at, b, b_at;  // a: a place, ones or symbols_of
    Index M, N;
    Index sum, row, column;  // where in the sum
};

/// What is summed over all rows of a call: [rows, row_stride(width)].
struct SumOf {
    Index rows, width, by_symbol;
};

/// A sum's way to the caller: out[row + from of a unit...]. transposed: the sum's rows are the caller's columns.
struct Delivery {
    Index sum, target;         // target: index of a gradient
    Index row, column, stride; // where in the target
    Index rows;
    Index transposed, add;
    Range runs;                // columns of the sum: to; of the target: from
};

/// One direction of a program.
struct Code {
    template <class T>
    struct Table {
        const T* data = nullptr;
        Index count = 0;
        [[gnu::always_inline]] const T& operator[](Index i) const { return data[i]; }
        [[gnu::always_inline]] const T* begin() const { return data; }
        [[gnu::always_inline]] const T* end() const { return data + count; }
    };

    Table<Place> places;
    Table<Run> runs;
    Table<Instruction> instructions;
    Table<Packing> packings;
    Table<Term> terms;
    Table<ProductOf> products;
    Table<Item> items;
    Table<Filling> fillings;
    Table<double> numbers;
    Table<Source> sources;
    Table<Sink> sinks;
    Table<Part> parts;
    Table<Contraction> contractions;
    Table<SumOf> sums;
    Table<Delivery> deliveries;
    Range head, slots, tail;  // of items
    Index symbols;            // how many there are; 0: the first input is numbers
    Index work;               // multiply-adds of a row and step
    Index widest;             // the widest place
};

/// A call of either direction. What is absent is null.
template <class S>
struct ProgramCall {
    const Code* code;
    Extent extent;
    int threads;
    const S* const* matrices;     // contiguous
    const S* const* parameters;
    const Series<S>* series;      // as Source and Sink number them; absent: zero
    Series<const std::int64_t> symbols;
    const Rows<const S>* initial;  // by part
    const S* const* restart;       // by part: the state from which pieces start
    const Rows<const S>* arriving; // backward: dL/d the last states
    const Rows<S>* leaving;        // forward: the last states; backward: dL/d the initial ones
    S* const* leaving_restart;     // backward: dL/d the states from which pieces start, each added to what is there
    S* const* gradients;           // backward: as Delivery numbers them
};

}  // namespace throughtime
