// Who computes what, and in which order: decided once per call, before any thread starts.
//
// Rows are sorted by length, longest first, so that the rows alive at a slot are always the first ones. They are cut into
// blocks (the rows that one thread walks together) and blocks into tasks (the blocks whose gradients are summed together).
// The cut depends on the sizes, the lengths and the number of threads, never on who happens to be free: that is why two
// calls give the same bits.
#pragma once

#include "problem.hpp"

namespace throughtime {

inline constexpr Index starts_row = 1, ends_row = 2;

/// Rows walked together: rows of the caller, or pieces of them. The pointers belong to the Plan.
struct Block {
    Index rows;
    Index steps;             // the longest length among its rows
    const Index* order;      // [rows] the caller's row
    const Index* begin;      // [rows] the first step in time
    const Index* ends;       // [rows] which of the caller's row's ends it has: starts_row, ends_row
    const Index* length;     // [rows] non-increasing
    const Index* count;      // [steps + 2] rows alive at slot tau (length >= tau); the last is 0
    const Index* start;      // [steps + 3] row of the packed states at which slot tau begins
    const Index* chunk;      // [chunks + 1] chunk i spans the slots chunk[i] .. chunk[i + 1] - 1; chunk[0] is 1
    Index chunks;
    Index chunk_rows;        // the most rows in any chunk
    bool reverse;
    bool in_order;           // order is order[0], order[0] + 1, ..., and all begin at the same step

    /// Step of the sequence at which row i arrives in slot tau >= 1.
    [[gnu::always_inline]] Index time(Index tau, Index i) const { return begin[i] + (reverse ? length[i] - tau : tau - 1); }

    /// Whether row i begins with the caller's initial state, and whether its last state is the caller's final one.
    [[gnu::always_inline]] bool takes_initial(Index i) const { return ends[i] & starts_row; }
    [[gnu::always_inline]] bool gives_final(Index i) const { return ends[i] & ends_row; }
    /// Whether the padding of the caller's row follows row i.
    [[gnu::always_inline]] bool before_padding(Index i) const { return reverse ? takes_initial(i) : gives_final(i); }
};

/// A run of blocks that one thread works through, and the largest sizes among them.
struct Task {
    const Block* begin;
    const Block* end;
    Index block_rows;
    Index chunk_rows;
    Index packed_rows;  // rows of all slots of a block
};

class Plan {
  public:
    /// `work_per_row`: multiply-adds that one row costs at one step.
    Plan(const Extent& extent, int threads, Index work_per_row);
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    const Task* tasks;
    Index count;   // of tasks
    int threads;   // how many are worth waking

  private:
    struct Storage;
    Storage* storage_;
};

}  // namespace throughtime
