// The Python module throughtime._native: addresses and sizes in, kernel calls out. Its only caller is engines/native.py, which
// checks shapes, types and contiguity; what only a look at the values can tell (lengths, symbols, labels) is checked here.
// All tensors are the caller's, and the outputs are made by it. The GIL is released while the kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "checks.hpp"
#include "dispatch.hpp"
#include "program_module.hpp"
#include "scratch.hpp"

namespace nb = nanobind;

namespace throughtime {
namespace {

using Address = std::uintptr_t;  // of a tensor's first element; 0 for none

template <class S>
S* pointer(Address address) {
    return reinterpret_cast<S*>(address);
}

/// An output of `rows` rows of `width` numbers, new and not yet touched.
template <class S>
S* fresh(Address address, Index rows, Index width) {
    if (address) prefer_huge_pages(pointer<S>(address), static_cast<std::size_t>(rows * width) * sizeof(S));
    return pointer<S>(address);
}

template <class S>
const Kernels<S>& kernels();
template <>
const Kernels<float>& kernels() { return current_engine().f32; }
template <>
const Kernels<double>& kernels() { return current_engine().f64; }

/// The recurrence's part of every call, in the order in which Python passes it.
struct Net {
    Index T, B, n, d;
    Address x;
    Index x_step, x_row;
    bool symbols;
    Address U, W, b, b_hh, s0;
    Index s0_row;
    Address lengths;
    bool reverse;
    int nonlinearity, threads;

    template <class S>
    Recurrence<S> recurrence() const {
        Recurrence<S> net{};
        net.T = T, net.B = B, net.n = n, net.d = d;
        if (symbols) net.symbols = {pointer<const std::int64_t>(x), x_step, x_row};
        else net.x = {pointer<const S>(x), x_step, x_row};
        net.U = pointer<const S>(U), net.W = pointer<const S>(W);
        net.b = pointer<const S>(b), net.b_hh = pointer<const S>(b_hh);
        net.s0 = {pointer<const S>(s0), s0_row};
        net.lengths = pointer<const std::int64_t>(lengths);
        net.reverse = reverse;
        net.nonlinearity = static_cast<Nonlinearity>(nonlinearity);
        net.threads = threads;
        return net;
    }

    RealSteps real() const { return {T, B, pointer<const std::int64_t>(lengths)}; }

    void check() const {
        if (n < 1 || d < 1) throw std::invalid_argument("sizes: expected n, d >= 1");
        real().check();
        if (symbols) real().check_range("x: symbol", {pointer<const std::int64_t>(x), x_step, x_row}, n, n);
    }
};

template <class S>
void forward(const Net& net, Address states, Index states_step, Index states_row, Address final) {
    const ForwardCall<S> call{net.recurrence<S>(),
                              {fresh<S>(states, net.T * net.B, net.d), states_step, states_row},
                              {pointer<S>(final), net.d}};
    kernels<S>().forward(call);
}

struct Upstream {
    Address states;
    Index states_step, states_row;
    Address dstates;
    Index dstates_step, dstates_row;
    Address dfinal;
    Index dfinal_row;
};

struct Gradients {
    Address delta, dx;
    Index dx_step, dx_row;
    Address dU, dW, db, ds0;
};

template <class S>
void backward(const Net& net, const Upstream& up, const Gradients& out) {
    const BackwardCall<S> call{net.recurrence<S>(),
                               {pointer<const S>(up.states), up.states_step, up.states_row},
                               {pointer<const S>(up.dstates), up.dstates_step, up.dstates_row},
                               {pointer<const S>(up.dfinal), up.dfinal_row},
                               {fresh<S>(out.delta, net.T * net.B, net.d), net.B * net.d, net.d},
                               {fresh<S>(out.dx, net.T * net.B, net.n), out.dx_step, out.dx_row},
                               fresh<S>(out.dU, net.d, net.n),
                               fresh<S>(out.dW, net.d, net.d),
                               pointer<S>(out.db),
                               {pointer<S>(out.ds0), net.d}};
    kernels<S>().backward(call);
}

struct Output {
    Index k;
    Address V, c, y;
    Index y_step, y_row;
    bool per_token;
    Address final, dV, dc;
};

template <class S>
double learning_step(const Net& net, const Output& output, const Gradients& out) {
    double loss = 0;
    const StepCall<S> call{net.recurrence<S>(),
                           output.k,
                           pointer<const S>(output.V),
                           pointer<const S>(output.c),
                           {pointer<const std::int64_t>(output.y), output.y_step, output.y_row},
                           output.per_token,
                           {pointer<S>(output.final), net.d},
                           {fresh<S>(out.dx, net.T * net.B, net.n), out.dx_step, out.dx_row},
                           fresh<S>(out.dU, net.d, net.n),
                           fresh<S>(out.dW, net.d, net.d),
                           pointer<S>(out.db),
                           pointer<S>(output.dV),
                           pointer<S>(output.dc),
                           {pointer<S>(out.ds0), net.d},
                           &loss};
    kernels<S>().learning_step(call);
    return loss;
}

// What Python passes, argument by argument.

#define NET_ARGUMENTS                                                                                                     \
    bool is_double, Index T, Index B, Index n, Index d, Address x, Index x_step, Index x_row, bool symbols, Address U,    \
        Address W, Address b, Address b_hh, Address s0, Index s0_row, Address lengths, bool reverse, int nonlinearity,    \
        int threads
#define NET {T, B, n, d, x, x_step, x_row, symbols, U, W, b, b_hh, s0, s0_row, lengths, reverse, nonlinearity, threads}

void py_forward(NET_ARGUMENTS, Address states, Index states_step, Index states_row, Address final) {
    const nb::gil_scoped_release released;
    const Net net NET;
    net.check();
    (is_double ? forward<double> : forward<float>)(net, states, states_step, states_row, final);
}

void py_backward(NET_ARGUMENTS, Address states, Index states_step, Index states_row, Address dstates, Index dstates_step,
                 Index dstates_row, Address dfinal, Index dfinal_row, Address delta, Address dx, Index dx_step,
                 Index dx_row, Address dU, Address dW, Address db, Address ds0) {
    const nb::gil_scoped_release released;
    const Net net NET;
    net.check();
    (is_double ? backward<double> : backward<float>)(
        net, {states, states_step, states_row, dstates, dstates_step, dstates_row, dfinal, dfinal_row},
        {delta, dx, dx_step, dx_row, dU, dW, db, ds0});
}

double py_learning_step(NET_ARGUMENTS, Index k, Address V, Address c, Address y, Index y_step, Index y_row, bool per_token,
                        Address final, Address dx, Index dx_step, Index dx_row, Address dU, Address dW, Address db,
                        Address dV, Address dc, Address ds0) {
    const nb::gil_scoped_release released;
    const Net net NET;
    net.check();
    if (k < 1) throw std::invalid_argument("sizes: expected k >= 1");
    net.real().check_range("y: label", {pointer<const std::int64_t>(y), y_step, y_row}, k, ignored_label);
    return (is_double ? learning_step<double> : learning_step<float>)(
        net, {k, V, c, y, y_step, y_row, per_token, final, dV, dc}, {0, dx, dx_step, dx_row, dU, dW, db, ds0});
}

template <class S>
double readout(ReadoutCall<S> call, Address states, Address V, Address c, Address weights, Address row_scales, Address losses,
               Address dstates, Address dV, Address dc, Index states_row) {
    double loss = 0;
    call.states = {pointer<const S>(states), states_row};
    call.V = pointer<const S>(V), call.c = pointer<const S>(c), call.weights = pointer<const S>(weights);
    call.row_scales = pointer<const S>(row_scales), call.losses = pointer<S>(losses);
    call.dstates = {fresh<S>(dstates, call.N, call.d), call.d};
    call.dV = fresh<S>(dV, call.k, call.d), call.dc = pointer<S>(dc);
    call.loss = &loss;
    kernels<S>().readout(call);
    return loss;
}

double py_readout(bool is_double, Index N, Index d, Index k, Address states, Index states_row, Address V, Address c,
                  Address labels, Address weights, std::int64_t ignored, double smoothing, bool mean, int threads,
                  Address row_scales, Address losses, Address dstates, Address dV, Address dc) {
    const nb::gil_scoped_release released;
    const auto* const y = pointer<const std::int64_t>(labels);
    for (Index i = 0; i < N; ++i)
        if ((y[i] < 0 || y[i] >= k) && y[i] != ignored)
            throw std::invalid_argument("target in row " + std::to_string(i) + ": expected 0 to " + std::to_string(k - 1) +
                                        " (or " + std::to_string(ignored) + ", ignored), found " + std::to_string(y[i]));
    const auto run = [&]<class S>(S) {
        ReadoutCall<S> call{};
        call.N = N, call.d = d, call.k = k, call.labels = y, call.ignored = ignored;
        call.smoothing = smoothing, call.mean = mean, call.threads = threads;
        return readout<S>(call, states, V, c, weights, row_scales, losses, dstates, dV, dc, states_row);
    };
    return is_double ? run(double{}) : run(float{});
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
