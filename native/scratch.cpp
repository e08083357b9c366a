#include "scratch.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace throughtime {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t huge_page = std::size_t{2} << 20;

/// The head of every piece, one page before the memory that is handed out.
struct Piece {
    std::size_t bytes;  // usable
    Piece* next;
};

struct Cache {
    std::mutex mutex;
    Piece* pieces = nullptr;
    std::size_t bytes = 0;
    bool poison = false;

    Cache() { pthread_atfork([] { shared().mutex.lock(); }, [] { shared().mutex.unlock(); }, [] { shared().mutex.unlock(); }); }
    static Cache& shared() {
        static Cache* cache = new Cache;  // never destroyed: threads may outlive static objects
        return *cache;
    }
};

Piece* piece_of(void* memory) { return reinterpret_cast<Piece*>(static_cast<char*>(memory) - page); }

Piece* allocate(std::size_t bytes) {
    const std::size_t alignment = bytes >= huge_page ? huge_page : page;
    bytes = (bytes + page + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, bytes);
    if (!memory) throw std::bad_alloc();
    prefer_huge_pages(memory, bytes);
    return new (memory) Piece{bytes - page, nullptr};
}

/// Unlinks the smallest cached piece that holds `bytes` without wasting most of itself; null if there is none.
Piece* take(Cache& cache, std::size_t bytes) {
    Piece** best = nullptr;
    for (Piece** link = &cache.pieces; *link; link = &(*link)->next)
        if ((*link)->bytes >= bytes && (*link)->bytes <= 4 * bytes + huge_page && (!best || (*link)->bytes < (*best)->bytes))
            best = link;
    if (!best) return nullptr;
    Piece* piece = *best;
    *best = piece->next;
    cache.bytes -= piece->bytes;
    return piece;
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
void scratch_forbid(void* memory, std::size_t bytes) noexcept { __asan_poison_memory_region(memory, bytes); }
#endif

void prefer_huge_pages(void* memory, std::size_t bytes) noexcept {
#ifdef MADV_HUGEPAGE
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t first = (address + huge_page - 1) / huge_page * huge_page;
    const std::uintptr_t last = (address + bytes) / huge_page * huge_page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // advice: failure changes nothing
#else
    static_cast<void>(memory), static_cast<void>(bytes);
#endif
}

void* scratch_acquire(std::size_t bytes) {
    Cache& cache = Cache::shared();
    Piece* piece;
    bool poison;
    {
        std::lock_guard lock(cache.mutex);
        piece = take(cache, bytes);
        poison = cache.poison;
    }
    if (!piece) piece = allocate(bytes);
    void* memory = reinterpret_cast<char*>(piece) + page;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory, piece->bytes);
#endif
    if (poison) std::memset(memory, 0xff, piece->bytes);  // all bits set is NaN in every format
    return memory;
}

void scratch_release(void* memory) noexcept {
    Cache& cache = Cache::shared();
    Piece* piece = piece_of(memory);
    {
        std::lock_guard lock(cache.mutex);
        if (cache.bytes + piece->bytes <= scratch_cache_limit) {
            piece->next = cache.pieces;
            cache.pieces = piece;
            cache.bytes += piece->bytes;
            return;
        }
    }
    std::free(piece);
}

void scratch_trim() noexcept {
    Cache& cache = Cache::shared();
    std::lock_guard lock(cache.mutex);
    while (Piece* piece = cache.pieces) {
        cache.pieces = piece->next;
        std::free(piece);
    }
    cache.bytes = 0;
}

std::size_t scratch_cached() noexcept {
    Cache& cache = Cache::shared();
    std::lock_guard lock(cache.mutex);
    return cache.bytes;
}

void scratch_poison(bool on) noexcept {
    Cache& cache = Cache::shared();
    std::lock_guard lock(cache.mutex);
    cache.poison = on;
}

}  // namespace throughtime
