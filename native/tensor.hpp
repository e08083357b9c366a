// A tensor as the kernels see it: what PyTorch's table for the exchange of tensors (DLPack) tells of a Python object, in some
// 20 ns and without a copy. The struct is valid as long as the object lives.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>

#include "problem.hpp"

namespace throughtime {

struct Tensor : nanobind::dlpack::dltensor {
    bool given = false;     // else None
    bool readable = false;  // memory holds the values: not where they are lazy (a sign, zeros) or elsewhere

    template <class S>
    bool is() const {
        return dtype == nanobind::dtype<S>();
    }
    Index size(int dim) const { return static_cast<Index>(shape[dim]); }
    Index distance(int dim) const { return static_cast<Index>(strides[dim]); }
};

/// Looks at Python's object; false where it is no tensor.
bool look(PyObject* object, Tensor& tensor);

/// Views of the tensors of one call. `fits` falls where one has not the shape, type or memory that is asked for; what was
/// returned for it must not be read then.
class Views {
  public:
    bool fits = true;

    template <class S>
    S* whole(const Tensor& t, std::initializer_list<Index> sizes) {
        if (!t.given) return nullptr;
        Index stride = 1;
        bool good = common<S>(t, static_cast<int>(sizes.size()));
        for (int dim = static_cast<int>(sizes.size()); good && dim-- > 0;) {
            const Index size = sizes.begin()[dim];
            good = t.size(dim) == size && (size == 1 || t.distance(dim) == stride);
            stride *= size;
        }
        return found<S>(t, good);
    }

    /// [B, width], or [1, B, width].
    template <class S>
    Rows<S> rows(const Tensor& t, Index B, Index width) {
        if (!t.given) return {};
        const int outer = t.ndim == 3 && t.size(0) == 1;
        const bool good = common<S>(t, 2 + outer) && t.size(outer) == B && last<S>(t, outer + 1, width);
        return {found<S>(t, good), good ? t.distance(outer) : 0};
    }

    /// [outer, inner, width]; with `exchanged`, steps are the inner dimension. Of integers and marks, [outer, inner].
    template <class S>
    Series<S> series(const Tensor& t, Index outer, Index inner, Index width, bool exchanged) {
        if (!t.given) return {};
        constexpr bool flat = std::is_integral_v<S>;  // bool, too
        const bool good = common<S>(t, flat ? 2 : 3) && t.size(0) == outer && t.size(1) == inner &&
                          (flat || last<S>(t, 2, width));
        S* const data = found<S>(t, good);
        if (!good) return {};
        return {data, t.distance(exchanged), t.distance(!exchanged)};
    }

  private:
    template <class S>
    static bool common(const Tensor& t, int ndim) {
        return t.readable && t.is<std::remove_const_t<S>>() && t.ndim == ndim;
    }
    template <class S>
    static bool last(const Tensor& t, int dim, Index width) {
        return t.size(dim) == width && (width == 1 || t.distance(dim) == 1);
    }
    template <class S>
    S* found(const Tensor& t, bool good) {
        fits = fits && good;
        return good ? reinterpret_cast<S*>(static_cast<char*>(t.data) + t.byte_offset) : nullptr;
    }
};

}  // namespace throughtime

template <>
struct nanobind::detail::has_arg_defaults<throughtime::Tensor> : std::true_type {};  // None is one of its values

template <>
struct nanobind::detail::type_caster<throughtime::Tensor> {
    NB_TYPE_CASTER(throughtime::Tensor, const_name("torch.Tensor | None"))

    bool from_python(handle source, uint8_t, cleanup_list*) noexcept {
        value = {};  // a list's elements are cast one after the other by the same caster
        return source.is_none() || throughtime::look(source.ptr(), value);
    }
};
