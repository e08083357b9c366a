// Threads, and the floating-point mode that every thread of a call runs in.
#pragma once

#include "problem.hpp"

namespace throughtime {

/// Runs body(context, i) for i = 0 .. tasks - 1 on at most `threads` threads, the caller's included; returns when all are
/// done. Tasks are handed out in order to whoever is free. An exception of a task is thrown again here. Any number of
/// threads may call at once: the first gets the pool, the others do their own work. The pool's threads are those of PyTorch's
/// OpenMP runtime, where that is libgomp and has enough of them, and else its own. Tasks run with denormals flushed to zero; the
/// mode of every thread is as before when this returns. Never call it while FlushToZero lives: a thread that the runtime starts
/// takes over its caller's mode, and would keep it.
void parallel(int threads, Index tasks, void (*body)(void* context, Index task), void* context);

/// The same for a callable.
template <class Body>
[[gnu::always_inline]] inline void parallel_for(int threads, Index tasks, Body&& body) {
    parallel(threads, tasks, [](void* context, Index task) { (*static_cast<Body*>(context))(task); }, &body);
}

/// While it lives, this thread flushes denormal numbers to zero: gradients that vanish would otherwise slow it 20-fold.
class FlushToZero {
  public:
    FlushToZero();
    ~FlushToZero();
    FlushToZero(const FlushToZero&) = delete;
    FlushToZero& operator=(const FlushToZero&) = delete;

  private:
    std::uint64_t before_;
};

}  // namespace throughtime
