// Cutting one piece of scratch memory into arrays.
#pragma once

#include "../scratch.hpp"
#include "vector.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Hands out cache-line-aligned arrays from a piece of memory. Without memory it hands out nulls and only counts, so that the
/// same code that lays out a workspace also measures it.
class Arena {
  public:
    THROUGHTIME_INLINE explicit Arena(void* memory = nullptr) : memory_(static_cast<char*>(memory)) {}

    template <class S>
    THROUGHTIME_INLINE S* take(Index count) {
        char* here = memory_ ? memory_ + used_ : nullptr;
        const Index bytes = count * static_cast<Index>(sizeof(S)), room = round_up(bytes, 64) + scratch_gap;
        if (here) scratch_forbid(here + bytes, static_cast<std::size_t>(room - bytes));
        used_ += static_cast<std::size_t>(room);
        return reinterpret_cast<S*>(here);
    }

    THROUGHTIME_INLINE std::size_t used() const { return used_; }

  private:
    char* memory_;
    std::size_t used_ = 0;
};

/// A workspace of type W and the scratch memory behind it: W::lay_out(arena, arguments...) is run to measure, then to fill.
template <class W>
class Workspace {
  public:
    template <class... Arguments>
    THROUGHTIME_INLINE explicit Workspace(const Arguments&... arguments) : memory_(measure(arguments...)) {
        Arena arena(memory_.data());
        parts.lay_out(arena, arguments...);
    }

    W parts;

  private:
    template <class... Arguments>
    THROUGHTIME_INLINE static std::size_t measure(const Arguments&... arguments) {
        Arena arena;
        W{}.lay_out(arena, arguments...);
        return arena.used();
    }

    Scratch memory_;
};

template <class S>
THROUGHTIME_INLINE void fill_zero(S* data, Index count) {
    std::memset(data, 0, static_cast<std::size_t>(count) * sizeof(S));
}

}  // namespace throughtime::THROUGHTIME_ISA
