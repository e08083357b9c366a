// Memory: scratch that is aligned, cached between calls and never initialised (in tests it is filled with NaN); huge pages.
#pragma once

#include <cstddef>

namespace throughtime {

/// Memory kept between calls, at most; a block that would exceed it is given back to the system at the end of its call.
inline constexpr std::size_t scratch_cache_limit = std::size_t{256} << 20;

/// At least `bytes` bytes, aligned to a page; owned by the caller until scratch_release. Throws std::bad_alloc.
void* scratch_acquire(std::size_t bytes);
void scratch_release(void* memory) noexcept;

/// Between two arrays cut from one piece: nothing, but under AddressSanitizer a gap that must not be touched.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::ptrdiff_t scratch_gap = 64;
void scratch_forbid(void* memory, std::size_t bytes) noexcept;
#else
inline constexpr std::ptrdiff_t scratch_gap = 0;
[[gnu::always_inline]] inline void scratch_forbid(void*, std::size_t) noexcept {}
#endif

/// Gives the cached memory back to the system.
void scratch_trim() noexcept;
std::size_t scratch_cached() noexcept;

/// While on, scratch memory is filled with NaN when it is acquired.
void scratch_poison(bool on) noexcept;

/// Asks the system to back this memory with huge pages, where it has them: call it before the memory is first touched. A new
/// array of tens of megabytes otherwise costs as much time in page faults as in arithmetic. Small arrays are left alone.
void prefer_huge_pages(void* memory, std::size_t bytes) noexcept;

/// Owns one piece of scratch memory.
class Scratch {
  public:
    [[gnu::always_inline]] explicit Scratch(std::size_t bytes) : memory_(scratch_acquire(bytes)) {}
    [[gnu::always_inline]] ~Scratch() { scratch_release(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    [[gnu::always_inline]] void* data() const { return memory_; }

  private:
    void* memory_;
};

}  // namespace throughtime
