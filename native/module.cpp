// The Python module throughtime._native: tensors in, kernel calls out. Its only callers are the engines in Python. Every shape,
// type and stride that the kernel relies on is checked here, and what only a look at the values can tell (lengths, symbols,
// labels). All tensors are the caller's, and the outputs are made by it. The GIL is released while the kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

#include "checks.hpp"
#include "dispatch.hpp"
#include "program_module.hpp"
#include "scratch.hpp"
#include "tensor.hpp"

namespace nb = nanobind;

namespace throughtime {
namespace {

using Address = std::uintptr_t;  // of an array's first element

template <class S>
const Kernels<S>& kernels();
template <>
const Kernels<float>& kernels() { return current_engine().f32; }
template <>
const Kernels<double>& kernels() { return current_engine().f64; }

/// An output of `count` numbers, new and not yet touched.
template <class S>
void fresh(S* data, Index count) {
    if (data) prefer_huge_pages(data, static_cast<std::size_t>(count) * sizeof(S));
}

/// The recurrence's part of every call, in the order in which Python passes it.
struct Net {
    const Tensor &x, &U, &W, &b, &b_hh, &s0, &lengths;
    int nonlinearity;
    bool reverse, batch_first;
    int threads;

    bool has_sizes() const { return x.readable && U.readable && W.readable && x.ndim >= 2 && U.ndim == 2; }
    Index outer() const { return x.size(0); }
    Index inner() const { return x.size(1); }
    Index T() const { return batch_first ? inner() : outer(); }
    Index B() const { return batch_first ? outer() : inner(); }
    Index n() const { return U.size(1); }
    Index d() const { return U.size(0); }

    template <class S>
    Series<S> series(Views& views, const Tensor& t, Index width) const {
        return views.series<S>(t, outer(), inner(), width, batch_first);
    }

    template <class S>
    Recurrence<S> recurrence(Views& views) const {
        Recurrence<S> net{};
        net.T = T(), net.B = B(), net.n = n(), net.d = d();
        if (x.ndim == 2) net.symbols = series<const std::int64_t>(views, x, 1);
        else net.x = series<const S>(views, x, n());
        net.U = views.whole<const S>(U, {d(), n()}), net.W = views.whole<const S>(W, {d(), d()});
        net.b = views.whole<const S>(b, {d()}), net.b_hh = views.whole<const S>(b_hh, {d()});
        net.s0 = views.rows<const S>(s0, B(), d());
        net.lengths = views.whole<const std::int64_t>(lengths, {B()});
        net.reverse = reverse;
        net.nonlinearity = static_cast<Nonlinearity>(nonlinearity);
        net.threads = threads;
        return net;
    }
};

template <class S>
RealSteps checked(const Recurrence<S>& net) {
    if (net.n < 1 || net.d < 1) throw std::invalid_argument("sizes: expected n, d >= 1");
    const RealSteps real{net.T, net.B, net.lengths};
    real.check();
    if (net.symbols) real.check_range("x: symbol", net.symbols, net.n, net.n);
    return real;
}

/// Runs `call`, a template over the type of the weights.
template <class Call>
auto by_type(const Net& net, Call call) {
    using Result = decltype(call(float{}));
    if (!net.has_sizes()) return Result{};
    return net.W.is<float>() ? call(float{}) : net.W.is<double>() ? call(double{}) : Result{};
}

// What Python passes, argument by argument. All functions do nothing and return false (None) where a tensor has not the shape,
// type or memory that the kernel reads.

#define NET_ARGUMENTS                                                                                                     \
    const Tensor &x, const Tensor &U, const Tensor &W, const Tensor &b, const Tensor &b_hh, const Tensor &s0,             \
        const Tensor &lengths, int nonlinearity, bool reverse, bool batch_first, int threads
#define NET {x, U, W, b, b_hh, s0, lengths, nonlinearity, reverse, batch_first, threads}

bool py_forward(NET_ARGUMENTS, const Tensor& states, const Tensor& final) {
    const Net net NET;
    return by_type(net, [&]<class S>(S) {
        Views views;
        const ForwardCall<S> call{net.recurrence<S>(views), net.series<S>(views, states, net.d()),
                                  views.rows<S>(final, net.B(), net.d())};
        if (!views.fits) return false;
        const nb::gil_scoped_release released;
        checked(call.net);
        fresh(call.states.data, net.T() * net.B() * net.d());
        kernels<S>().forward(call);
        return true;
    });
}

bool py_backward(NET_ARGUMENTS, const Tensor& states, const Tensor& dstates, const Tensor& dfinal, const Tensor& delta,
                 const Tensor& dx, const Tensor& dU, const Tensor& dW, const Tensor& db, const Tensor& ds0) {
    const Net net NET;
    return by_type(net, [&]<class S>(S) {
        const Index n = net.n(), d = net.d(), B = net.B(), steps = net.T() * B;
        Views views;
        const BackwardCall<S> call{net.recurrence<S>(views),
                                   net.series<const S>(views, states, d),
                                   net.series<const S>(views, dstates, d),
                                   views.rows<const S>(dfinal, B, d),
                                   net.series<S>(views, delta, d),
                                   net.series<S>(views, dx, n),
                                   views.whole<S>(dU, {d, n}),
                                   views.whole<S>(dW, {d, d}),
                                   views.whole<S>(db, {d}),
                                   views.rows<S>(ds0, B, d)};
        if (!views.fits) return false;
        const nb::gil_scoped_release released;
        checked(call.net);
        fresh(call.delta.data, steps * d), fresh(call.dx.data, steps * n), fresh(call.dU, d * n), fresh(call.dW, d * d);
        kernels<S>().backward(call);
        return true;
    });
}

std::optional<double> py_learning_step(NET_ARGUMENTS, const Tensor& V, const Tensor& c, const Tensor& y, bool per_token,
                                       const Tensor& final, const Tensor& dU, const Tensor& dW, const Tensor& db,
                                       const Tensor& dV, const Tensor& dc, const Tensor& dx, const Tensor& ds0) {
    const Net net NET;
    if (!V.readable || V.ndim != 2) return {};
    return by_type(net, [&]<class S>(S) -> std::optional<double> {
        const Index n = net.n(), d = net.d(), k = V.size(0), B = net.B(), steps = net.T() * B;
        Views views;
        double loss = 0;
        const StepCall<S> call{net.recurrence<S>(views),
                               k,
                               views.whole<const S>(V, {k, d}),
                               views.whole<const S>(c, {k}),
                               net.series<const std::int64_t>(views, y, 1),
                               per_token,
                               views.rows<S>(final, B, d),
                               net.series<S>(views, dx, n),
                               views.whole<S>(dU, {d, n}),
                               views.whole<S>(dW, {d, d}),
                               views.whole<S>(db, {d}),
                               views.whole<S>(dV, {k, d}),
                               views.whole<S>(dc, {k}),
                               views.rows<S>(ds0, B, d),
                               &loss};
        if (!views.fits || !call.c || !call.y) return {};
        const nb::gil_scoped_release released;
        const RealSteps real = checked(call.net);
        if (k < 1) throw std::invalid_argument("sizes: expected k >= 1");
        real.check_range("y: label", call.y, k, ignored_label);
        fresh(call.dx.data, steps * n), fresh(call.dU, d * n), fresh(call.dW, d * d);
        kernels<S>().learning_step(call);
        return loss;
    });
}

std::optional<double> py_readout(const Tensor& states, const Tensor& V, const Tensor& c, const Tensor& target,
                                 const Tensor& weights, std::int64_t ignored, double smoothing, bool mean, int threads,
                                 const Tensor& row_scales, const Tensor& losses, const Tensor& dstates, const Tensor& dV,
                                 const Tensor& dc) {
    if (!V.readable || V.ndim != 2 || !states.readable || states.ndim != 2) return {};
    const Index N = states.size(0), k = V.size(0), d = V.size(1);
    const auto run = [&]<class S>(S) -> std::optional<double> {
        Views views;
        double loss = 0;
        ReadoutCall<S> call{};
        call.N = N, call.d = d, call.k = k;
        call.states = views.rows<const S>(states, N, d);
        call.V = views.whole<const S>(V, {k, d}), call.c = views.whole<const S>(c, {k});
        call.labels = views.whole<const std::int64_t>(target, {N});
        call.weights = views.whole<const S>(weights, {k});
        call.ignored = ignored, call.smoothing = smoothing, call.divisor = mean ? 0 : 1, call.threads = threads;
        call.row_scales = views.whole<const S>(row_scales, {N});
        call.losses = views.whole<S>(losses, {N});
        call.dstates = views.rows<S>(dstates, N, d);
        call.dV = views.whole<S>(dV, {k, d}), call.dc = views.whole<S>(dc, {k});
        call.loss = &loss;
        if (!views.fits || !call.labels) return {};
        const nb::gil_scoped_release released;
        for (Index i = 0; i < N; ++i)
            if (const std::int64_t y = call.labels[i]; (y < 0 || y >= k) && y != ignored)
                throw std::invalid_argument("target in row " + std::to_string(i) + ": expected 0 to " + std::to_string(k - 1) +
                                            " (or " + std::to_string(ignored) + ", ignored), found " + std::to_string(y));
        fresh(call.dstates.data, N * d), fresh(call.dV, k * d);
        kernels<S>().readout(call);
        return loss;
    };
    return V.is<float>() ? run(float{}) : V.is<double>() ? run(double{}) : std::nullopt;
}

template <class S>
S* pointer(Address address) {
    return reinterpret_cast<S*>(address);
}

/// y = exp(x), or sigma(x) by its number, elementwise.
void py_evaluate(bool is_double, int function, Address x, Address y, Index count) {
    const auto run = [&]<class S>(const Kernels<S>& kernels) {
        if (function < 0) kernels.exp(pointer<const S>(x), pointer<S>(y), count);
        else kernels.apply(static_cast<Nonlinearity>(function), pointer<const S>(x), pointer<S>(y), count);
    };
    is_double ? run(current_engine().f64) : run(current_engine().f32);
}

std::vector<std::string> supported() {
    std::vector<std::string> names;
    for (const Engine* engine : supported_engines()) names.emplace_back(engine->name);
    return names;
}

}  // namespace
}  // namespace throughtime

NB_MODULE(_native, m) {
    using namespace throughtime;
    current_engine();  // a wrong THROUGHTIME_ISA is reported at once
    m.attr("NONLINEARITIES") = nb::make_tuple("tanh", "relu", "logistic", "identity");
    m.attr("SCRATCH_CACHE_LIMIT") = scratch_cache_limit;
    m.def("forward", &py_forward);
    m.def("backward", &py_backward);
    m.def("learning_step", &py_learning_step);
    add_programs(m);
    m.def("readout", &py_readout);
    m.def("evaluate", &py_evaluate);
    m.def("isa", [] { return current_engine().name; });
    m.def("supported", &supported);
    m.def("set_isa", &choose_engine);
    m.def("trim", &scratch_trim);
    m.def("cached", &scratch_cached);
    m.def("poison", &scratch_poison);
}
