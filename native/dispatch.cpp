#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace throughtime {

#if defined(THROUGHTIME_X86)
namespace baseline { extern const Engine engine; }
namespace avx2 { extern const Engine engine; }
namespace avx512 { extern const Engine engine; }
#elif defined(THROUGHTIME_NEON)
namespace neon { extern const Engine engine; }
#else
namespace baseline { extern const Engine engine; }
#endif

namespace {

std::vector<const Engine*> find_supported() {
    std::vector<const Engine*> found;
#if defined(THROUGHTIME_X86)
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        found.push_back(&avx512::engine);
    if (has_avx2) found.push_back(&avx2::engine);
    found.push_back(&baseline::engine);
#elif defined(THROUGHTIME_NEON)
    found.push_back(&neon::engine);
#else
    found.push_back(&baseline::engine);
#endif
    return found;
}

const Engine* engine_named(const std::string& name) {
    if (name.empty()) return supported_engines().front();
    std::string known;
    for (const Engine* engine : supported_engines()) {
        if (name == engine->name) return engine;
        known += known.empty() ? engine->name : std::string(", ") + engine->name;
    }
    throw std::invalid_argument("THROUGHTIME_ISA: expected one of " + known + ", found \"" + name + "\"");
}

std::atomic<const Engine*>& chosen() {
    const char* const name = std::getenv("THROUGHTIME_ISA");
    static std::atomic<const Engine*> engine{engine_named(name ? name : "")};
    return engine;
}

}  // namespace

const std::vector<const Engine*>& supported_engines() {
    static const std::vector<const Engine*> engines = find_supported();
    return engines;
}

const Engine& current_engine() { return *chosen().load(std::memory_order_relaxed); }

void choose_engine(const std::string& name) { chosen().store(engine_named(name)); }

}  // namespace throughtime
