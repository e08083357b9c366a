// Moving rows between the caller's [T, B, width] arrays and packed scratch memory.
//
// A chunk is a span of slots [first, last) of a block. Packed, its rows follow one another slot by slot, and within a slot in
// the order of the block, at a distance of row_stride(width).
#pragma once

#include "../plan.hpp"
#include "vector.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// A span of slots of a block, and where its packed rows are among all packed rows of the block.
struct Chunk {
    const Block* block;
    Index first, last;

    THROUGHTIME_INLINE Chunk(const Block& of, Index index)
        : block(&of), first(of.chunk[index]), last(of.chunk[index + 1]) {}
    THROUGHTIME_INLINE Index alive(Index tau) const { return block->count[tau]; }
    THROUGHTIME_INLINE Index row(Index tau) const { return block->start[tau] - block->start[first]; }
    THROUGHTIME_INLINE Index rows() const { return row(last); }
    /// Whether no row ends inside: then the rows of each slot follow those of the slot before at a fixed distance.
    THROUGHTIME_INLINE bool even() const { return alive(first) == alive(last - 1); }
};

/// Calls visit(packed row, step of the sequence, caller's row) for all rows of a chunk, in packed order.
template <class Visit>
THROUGHTIME_INLINE void for_rows(const Chunk& chunk, Visit&& visit) {
    const Block& block = *chunk.block;
    for (Index tau = chunk.first, r = 0; tau < chunk.last; ++tau)
        for (Index i = 0; i < chunk.alive(tau); ++i, ++r) visit(r, block.time(tau, i), block.order[i]);
}

template <class S>
THROUGHTIME_INLINE void copy_row(S* to, const S* from, Index width) {
    Index j = 0;
    for (; j + lanes<S> <= width; j += lanes<S>) store(to + j, load(from + j));
    for (; j < width; ++j) to[j] = from[j];
}

/// Copies a row and fills it up with zeros to whole vectors.
template <class S>
THROUGHTIME_INLINE void copy_row_padded(S* to, const S* from, Index width) {
    copy_row(to, from, width);
    for (Index j = width; j < padded<S>(width); ++j) to[j] = S(0);
}

template <class S>
void gather(const Chunk& chunk, const Series<const S>& from, Index width, S* to) {
    const Index stride = row_stride<S>(width);
    for_rows(chunk, [&](Index r, Index t, Index b) { copy_row_padded(to + r * stride, from.at(t, b), width); });
}

template <class S>
void scatter(const Chunk& chunk, const S* from, Index width, const Series<S>& to) {
    const Index stride = row_stride<S>(width);
    for_rows(chunk, [&](Index r, Index t, Index b) { copy_row(to.at(t, b), from + r * stride, width); });
}

/// Zeros in the padding of a block's rows.
template <class S>
void clear_padding(const Block& block, Index T, Index width, const Series<S>& out) {
    for (Index i = 0; i < block.rows; ++i)
        for (Index t = block.begin[i] + block.length[i]; block.before_padding(i) && t < T; ++t)
            for (Index j = 0; j < width; ++j) out.at(t, block.order[i])[j] = S(0);
}

/// Whether the rows of a slot may be read where they lie: in the same order, at a fixed distance, and one at which they do not
/// compete for the same few sets of the cache.
template <class S>
THROUGHTIME_INLINE bool lie_well(const Chunk& chunk, const Series<const S>& from) {
    return chunk.block->in_order && !chunk.block->reverse && from.row * static_cast<Index>(sizeof(S)) % 2048 != 0;
}

/// Packed rows that are only read: in the caller's memory if they lie evenly there, else gathered into `buffer`.
template <class S>
struct PackedRows {
    const S* data;
    Index stride;
};

template <class S>
PackedRows<S> read_rows(const Chunk& chunk, const Series<const S>& from, Index width, S* buffer) {
    const Block& block = *chunk.block;
    const Index alive = chunk.alive(chunk.first);
    const S* begin = from.at(block.time(chunk.first, 0), block.order[0]);
    if (chunk.even() && alive == 1) return {begin, block.reverse ? -from.step : from.step};
    if (chunk.even() && lie_well(chunk, from) && from.step == alive * from.row) return {begin, from.row};
    gather(chunk, from, width, buffer);
    return {buffer, row_stride<S>(width)};
}

/// Rows that are only read, slot by slot.
template <class S>
struct SlotRows {
    const S* data = nullptr;  // null: absent
    Index row = 0;            // from a row of a slot to the next
    Index slot = 0;           // from a slot to the next, where they are not packed
    bool packed = false;

    THROUGHTIME_INLINE const S* at(const Chunk& chunk, Index tau) const {
        return data + (packed ? chunk.row(tau) * row : (tau - chunk.first) * slot);
    }
};

/// Packed in scratch memory.
template <class S>
THROUGHTIME_INLINE SlotRows<S> packed_slots(const S* rows, Index width) {
    return {rows, row_stride<S>(width), 0, true};
}

/// In the caller's memory if they lie well there (and are whole vectors, where they are read as `vectors`), else gathered into
/// `buffer`.
template <class S>
SlotRows<S> read_slots(const Chunk& chunk, const Series<const S>& from, Index width, bool vectors, S* buffer) {
    if (lie_well(chunk, from) && (!vectors || width % lanes<S> == 0))
        return {from.at(chunk.block->time(chunk.first, 0), chunk.block->order[0]), from.row, from.step, false};
    gather(chunk, from, width, buffer);
    return packed_slots<S>(buffer, width);
}

}  // namespace throughtime::THROUGHTIME_ISA
