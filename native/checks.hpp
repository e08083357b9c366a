// What only a look at the values can tell: lengths, symbols and labels must be in range before a kernel reads them.
#pragma once

#include <stdexcept>
#include <string>

#include "problem.hpp"

namespace throughtime {

/// The real steps of a call's rows.
struct RealSteps {
    Index T, B;
    const std::int64_t* lengths;  // [B], or null for T

    Index length(Index b) const { return lengths ? lengths[b] : T; }

    void check() const {
        if (T < 1 || B < 1) throw std::invalid_argument("sizes: expected T, B >= 1");
        for (Index b = 0; lengths && b < B; ++b)
            if (length(b) < 0 || length(b) > T)
                throw std::invalid_argument("lengths: expected 0 to " + std::to_string(T) + ", found " +
                                            std::to_string(length(b)) + " in row " + std::to_string(b));
    }

    /// Every value of a real step must be in 0 .. count - 1, or `ignored` where that is not count.
    void check_range(const char* what, Series<const std::int64_t> values, Index count, Index ignored) const {
        for (Index b = 0; b < B; ++b)
            for (Index t = 0; t < length(b); ++t) {
                const std::int64_t value = *values.at(t, b);
                if ((value < 0 || value >= count) && (value != ignored || ignored == count)) {
                    const std::string also = ignored == count ? "" : " (or " + std::to_string(ignored) + ", ignored)";
                    throw std::invalid_argument(what + (" in row " + std::to_string(b)) + ", step " + std::to_string(t) +
                                                ": expected 0 to " + std::to_string(count - 1) + also + ", found " +
                                                std::to_string(value));
                }
            }
    }
};

}  // namespace throughtime
