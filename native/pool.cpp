#include "pool.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace throughtime {
namespace {

constexpr int spins = 4000;        // some 50 microseconds of waiting awake; a cold wake-up costs more than that
constexpr int most_threads = 256;

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// The threads of the OpenMP runtime that PyTorch runs its own operations on, where that is libgomp. They stay awake between
/// operations, so that threads of ours would have to fight them for the cores.
struct OpenMP {
    void (*parallel)(void (*body)(void*), void* context, unsigned threads, unsigned flags);
    int (*max_threads)();

    static OpenMP find() {
        void* const library = dlopen("libgomp.so.1", RTLD_NOW | RTLD_NOLOAD);  // only where it is there already
        if (!library) return {};
        return {reinterpret_cast<decltype(parallel)>(dlsym(library, "GOMP_parallel")),
                reinterpret_cast<decltype(max_threads)>(dlsym(library, "omp_get_max_threads"))};
    }

    bool has(int threads) const { return parallel && max_threads && max_threads() >= threads; }
};

/// One call at a time: whoever holds `busy` owns the job.
struct Pool {
    explicit Pool(const OpenMP& openmp) : team(openmp) {}

    std::mutex busy;
    const OpenMP team;
    int workers = 0;  // of our own; guarded by busy

    // The job. Written by the owner while `open` is false and nobody is inside.
    void (*body)(void*, Index) = nullptr;
    void* context = nullptr;
    Index tasks = 0;
    std::atomic<Index> next{0};   // the next task to be taken
    std::atomic<int> seats{0};    // how many threads may still join
    std::exception_ptr error;     // of the first task that failed; guarded by error_mutex
    std::mutex error_mutex;

    alignas(64) std::atomic<bool> open{false};
    alignas(64) std::atomic<int> inside{0};   // workers that may be looking at the job
    alignas(64) std::atomic<std::uint32_t> calls{0};  // rises with every job: what idle workers wait on

    static Pool* shared;

    void take_tasks() {
        const FlushToZero mode;
        for (Index task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
            try {
                body(context, task);
            } catch (...) {
                std::lock_guard lock(error_mutex);
                if (!error) error = std::current_exception();
            }
        }
    }

    [[noreturn]] void work() {
        for (std::uint32_t seen = 0;;) {
            for (int spin = 0; calls.load(std::memory_order_acquire) == seen; ++spin) {
                if (spin < spins) relax();
                else calls.wait(seen, std::memory_order_acquire);
            }
            seen = calls.load(std::memory_order_acquire);
            inside.fetch_add(1);  // before looking at `open`: the owner closes, then waits for `inside` to be empty
            if (open.load() && seats.fetch_sub(1) > 0) take_tasks();
            inside.fetch_sub(1);
        }
    }

    /// The whole team is called, whatever `threads` is: libgomp ends threads that are left out.
    void run_on_team() {
        team.parallel(
            [](void* pool) {
                Pool& self = *static_cast<Pool*>(pool);
                if (self.seats.fetch_sub(1) > 0) self.take_tasks();
            },
            this, 0, 0);
    }

    void run_on_workers(int threads) {
        for (; workers < threads - 1; ++workers) std::thread([this] { work(); }).detach();
        seats.fetch_sub(1);  // the caller's own
        open.store(true);
        calls.fetch_add(1);
        calls.notify_all();
        take_tasks();
        open.store(false);
        while (inside.load() != 0) relax();
    }

    void run(int threads) {
        next.store(0);
        seats.store(threads);
        error = nullptr;
        if (team.has(threads)) run_on_team();
        else run_on_workers(threads);
        if (error) std::rethrow_exception(error);
    }
};

// A forked child has none of its parent's threads, of either kind: it starts with a new pool and threads of its own, and the
// old one is left where it is.
Pool* Pool::shared = [] {
    pthread_atfork(nullptr, nullptr, [] { Pool::shared = new Pool(OpenMP{}); });
    return new Pool(OpenMP::find());
}();

}  // namespace

void parallel(int threads, Index tasks, void (*body)(void*, Index), void* context) {
    Pool& pool = *Pool::shared;
    if (threads > most_threads) threads = most_threads;
    if (threads > tasks) threads = static_cast<int>(tasks);
    if (threads > 1 && pool.busy.try_lock()) {
        std::lock_guard lock(pool.busy, std::adopt_lock);
        pool.body = body;
        pool.context = context;
        pool.tasks = tasks;
        pool.run(threads);
        return;
    }
    const FlushToZero mode;
    for (Index task = 0; task < tasks; ++task) body(context, task);
}

#if defined(__x86_64__)
FlushToZero::FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(static_cast<unsigned>(before_) | 0x8040u); }
FlushToZero::~FlushToZero() { _mm_setcsr(static_cast<unsigned>(before_)); }
#elif defined(__aarch64__)
FlushToZero::FlushToZero() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (std::uint64_t{1} << 24)));
}
FlushToZero::~FlushToZero() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#else
FlushToZero::FlushToZero() : before_(0) {}
FlushToZero::~FlushToZero() = default;
#endif

}  // namespace throughtime
