// Cross-entropy of softmax, in place, on the logits of a chunk.
//
//     L = log Σ_j e^{z_j - max z} - (z_y - max z)          e = (softmax(z) - onehot(y)) * scale
#pragma once

#include "maths.hpp"
#include "rows.hpp"

namespace throughtime::THROUGHTIME_ISA {

template <class S>
THROUGHTIME_INLINE S sum_of_lanes(Vector<S> v) {
    S sum = 0;
    for (Index i = 0; i < lanes<S>; ++i) sum += v[i];
    return sum;
}

template <class S>
THROUGHTIME_INLINE S largest_lane(Vector<S> v) {
    S most = v[0];
    for (Index i = 1; i < lanes<S>; ++i) most = v[i] > most ? v[i] : most;
    return most;
}

/// The largest of `width` logits, whole vectors.
template <class S>
THROUGHTIME_INLINE S largest_logit(const S* z, Index width) {
    Vector<S> most = load(z);
    for (Index j = lanes<S>; j < width; j += lanes<S>) most = largest<S>(most, load(z + j));
    return largest_lane<S>(most);
}

/// Turns logits z into e^{z - top}; returns their sum.
template <class S>
THROUGHTIME_INLINE S exponentials(S* z, Index width, S top) {
    Vector<S> sum{};
    for (Index j = 0; j < width; j += lanes<S>) {
        const Vector<S> e = exp<S>(load(z + j) - top);
        store(z + j, e);
        sum += e;
    }
    return sum_of_lanes<S>(sum);
}

/// log of a product of many numbers >= 1, one logarithm for some twenty of them: it costs more than the rest of a short row.
class LogOfProduct {
  public:
    THROUGHTIME_INLINE void times(double factor) {
        product_ *= factor;
        if (!(product_ < 1e270)) flush();  // another factor (at most 2^63) still fits; NaN and infinity get out at once
    }
    THROUGHTIME_INLINE double value() {
        flush();
        return log_;
    }

  private:
    THROUGHTIME_INLINE void flush() {
        log_ += __builtin_log(product_);
        product_ = 1;
    }
    double product_ = 1, log_ = 0;
};

/// Turns the logits z [rows of the chunk, row_stride(k)] into the errors e, and returns the sum of the losses.
/// The columns from k to the next whole vector hold logits so low that they vanish.
template <class S>
double cross_entropy(const Chunk& chunk, const Series<const std::int64_t>& y, Index k, S scale, S* z) {
    const Index width = padded<S>(k), stride = row_stride<S>(k);
    LogOfProduct partition;
    double correct = 0;
    for_rows(chunk, [&](Index r, Index t, Index b) {
        S* row = z + r * stride;
        const Index label = *y.at(t, b);
        if (label == ignored_label) return fill_zero(row, width);
        const S top = largest_logit<S>(row, width);
        correct += static_cast<double>(row[label] - top);
        const S total = exponentials<S>(row, width, top);
        partition.times(static_cast<double>(total));
        const S factor = scale / total;
        for (Index j = 0; j < width; j += lanes<S>) store(row + j, load(row + j) * factor);
        row[label] -= scale;
    });
    return partition.value() - correct;
}

}  // namespace throughtime::THROUGHTIME_ISA
