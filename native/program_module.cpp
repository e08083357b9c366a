// Programs in the Python module: their tables and tensors in, kernel calls out. The only caller is engines/native_program.py.
// A learning step is three kernel calls, one after the other, and what passes between them is memory kept from call to call.
// Every shape, type and stride is checked here, and lengths and symbols.
#include "program_module.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "checks.hpp"
#include "dispatch.hpp"
#include "program_tables.hpp"
#include "scratch.hpp"
#include "tensor.hpp"

namespace nb = nanobind;

namespace throughtime {
namespace {

using Tensors = std::vector<Tensor>;

template <class S>
const Kernels<S>& kernels();
template <>
const Kernels<float>& kernels() { return current_engine().f32; }
template <>
const Kernels<double>& kernels() { return current_engine().f64; }

/// What Python passes for a call of either direction; the tensors as ProgramCall describes them.
struct Arguments {
    const CodeTables& tables;
    bool backward;
    Index T, B;
    bool reverse;
    int threads;
    const Tensor &lengths, &starts;
    const Tensors &matrices, &parameters, &series, &initial, &restart, &arriving, &leaving, &leaving_restart, &gradients;
};

template <class S>
std::vector<S*> all_whole(Views& views, const Tensors& tensors, const std::vector<Index>& widths) {
    std::vector<S*> found;
    views.fits = views.fits && tensors.size() <= widths.size();
    for (std::size_t i = 0; views.fits && i < tensors.size(); ++i) found.push_back(views.whole<S>(tensors[i], {widths[i]}));
    return found;
}

template <class S>
std::vector<Rows<S>> all_rows(Views& views, const Tensors& tensors, Index B, const std::vector<Index>& widths) {
    std::vector<Rows<S>> found;
    views.fits = views.fits && tensors.size() <= widths.size();
    for (std::size_t i = 0; views.fits && i < tensors.size(); ++i) found.push_back(views.rows<S>(tensors[i], B, widths[i]));
    return found;
}

template <class S>
std::vector<S*> all_matrices(Views& views, const Tensors& tensors, const Words& sizes) {
    std::vector<S*> found;
    for (std::size_t i = 0; i < sizes.size(); ++i) found.push_back(views.whole<S>(tensors[i], {sizes[i][0], sizes[i][1]}));
    return found;
}

/// The tensors of a call as the kernel reads them.
template <class S>
class Read {
  public:
    /// `views` falls where a tensor does not fit. Series may be fewer than the program's: the others are `made`.
    Read(Views& views, const Arguments& a) : tables_(a.tables) {
        const Shapes& shapes = tables_.shapes;
        const std::size_t weights = shapes.matrices.size() + shapes.parameters.size();
        const bool counts = a.matrices.size() == shapes.matrices.size() && a.parameters.size() == shapes.parameters.size() &&
                            a.series.size() <= shapes.series.size() && a.initial.size() == shapes.state.size() &&
                            a.restart.size() == shapes.state.size() && (a.gradients.empty() || a.gradients.size() == weights);
        if (!counts) throw std::invalid_argument("tensors: expected as many as the program has");
        matrices_ = all_matrices<const S>(views, a.matrices, shapes.matrices);
        parameters_ = all_whole<const S>(views, a.parameters, shapes.parameters);
        for (std::size_t i = 0; i < a.series.size(); ++i) {
            const bool is_symbols = tables_.code.symbols && i == 0;
            if (is_symbols) call_.symbols = views.series<const std::int64_t>(a.series[0], a.T, a.B, 1, false);
            series_.push_back(is_symbols ? Series<S>{} : views.series<S>(a.series[i], a.T, a.B, shapes.series[i], false));
        }
        initial_ = all_rows<const S>(views, a.initial, a.B, shapes.state);
        arriving_ = all_rows<const S>(views, a.arriving, a.B, shapes.carried);
        leaving_ = all_rows<S>(views, a.leaving, a.B, shapes.state);
        restart_ = all_whole<const S>(views, a.restart, shapes.state);
        leaving_restart_ = all_whole<S>(views, a.leaving_restart, shapes.state);
        if (!a.gradients.empty()) {
            const auto parted = a.gradients.begin() + static_cast<std::ptrdiff_t>(shapes.matrices.size());
            gradients_ = all_matrices<S>(views, {a.gradients.begin(), parted}, shapes.matrices);
            for (S* const g : all_whole<S>(views, {parted, a.gradients.end()}, shapes.parameters)) gradients_.push_back(g);
        }
        const auto* const lengths = views.whole<const std::int64_t>(a.lengths, {a.B});
        call_.extent = {a.T, a.B, lengths, views.series<const bool>(a.starts, a.T, a.B, 1, false), a.reverse};
        call_.threads = a.threads;
    }
    Read(const Read&) = delete;
    Read& operator=(const Read&) = delete;

    std::vector<Series<S>> made;

    /// The real steps. Throws: std::invalid_argument: lengths or symbols out of range.
    RealSteps checked() const {
        const Code& code = tables_.code;
        const RealSteps real{call_.extent.T, call_.extent.B, call_.extent.lengths};
        real.check();
        if (code.symbols) real.check_range("x: symbol", call_.symbols, code.symbols, code.symbols);
        return real;
    }

    /// What the kernel is called with, while this object and the tensors live.
    const ProgramCall<S>& call() {
        series_.insert(series_.end(), made.begin(), made.end());
        if (series_.size() != tables_.shapes.series.size())
            throw std::invalid_argument("series: expected as many as the program has");
        call_.code = &tables_.code;
        call_.matrices = matrices_.data(), call_.parameters = parameters_.data();
        call_.series = series_.data();
        call_.initial = initial_.data(), call_.arriving = arriving_.data(), call_.leaving = leaving_.data();
        call_.restart = restart_.data(), call_.leaving_restart = leaving_restart_.data();
        call_.gradients = gradients_.data();
        return call_;
    }

  private:
    const CodeTables& tables_;
    ProgramCall<S> call_{};
    std::vector<const S*> matrices_, parameters_, restart_;
    std::vector<Series<S>> series_;
    std::vector<Rows<const S>> initial_, arriving_;
    std::vector<Rows<S>> leaving_;
    std::vector<S*> leaving_restart_, gradients_;
};

/// Runs the call; does nothing and returns false where a tensor has not the shape, type or memory that the kernel reads.
template <class S>
bool run(const Arguments& a) {
    Views views;
    Read<S> read(views, a);
    if (!views.fits) return false;
    const nb::gil_scoped_release released;
    const ProgramCall<S>& call = read.call();
    for (const Sink& sink : a.tables.code.sinks) {  // new and not yet touched
        const Series<S>& out = call.series[sink.series];
        const Index first = out.step > out.row ? out.step * a.T : out.row * a.B;
        prefer_huge_pages(out.data, static_cast<std::size_t>(first) * sizeof(S));
    }
    read.checked();
    (a.backward ? kernels<S>().program_backward : kernels<S>().program_forward)(call);
    return true;
}

bool run_program(const CodeTables& tables, bool is_double, bool backward, Index T, Index B, const Tensor& lengths,
                 const Tensor& starts, bool reverse, int threads, const Tensors& matrices, const Tensors& parameters,
                 const Tensors& series, const Tensors& initial, const Tensors& restart, const Tensors& arriving,
                 const Tensors& leaving, const Tensors& leaving_restart, const Tensors& gradients) {
    return (is_double ? run<double> : run<float>)({tables, backward, T, B, reverse, threads, lengths, starts, matrices,
                                                   parameters, series, initial, restart, arriving, leaving, leaving_restart,
                                                   gradients});
}

/// What Python passes for a learning step: the program's part as for calls of both directions, from zero at the starts of pieces;
/// the readout's as ReadoutCall describes it, over the steps of the only output.
struct StepArguments {
    const CodeTables &there, &back;
    bool learn;
    Index T, B;
    int threads;
    const Tensor &lengths, &starts;
    const Tensors &matrices, &parameters, &inputs, &initial, &final;
    const Tensor &V, &c, &y;
    bool per_token;
    const Tensors &to_inputs, &to_initial, &gradients;
    const Tensor &dV, &dc;
};

/// Series of a call, laid out one after the other in scratch memory, time first.
template <class S>
class OwnSeries {
  public:
    OwnSeries(Index T, Index B, const std::vector<Index>& widths) : B_(B), steps_(T * B), memory_(bytes(widths)) {
        char* here = static_cast<char*>(memory_.data());
        for (const Index width : widths) {
            all.push_back({reinterpret_cast<S*>(here), B_ * width, width});
            here += room(width);
        }
    }

    std::vector<Series<S>> all;

  private:
    std::size_t room(Index width) const { return (static_cast<std::size_t>(steps_ * width) * sizeof(S) + 63) / 64 * 64; }
    std::size_t bytes(const std::vector<Index>& widths) const {
        std::size_t sum = 64;
        for (const Index width : widths) sum += room(width);
        return sum;
    }

    Index B_, steps_;
    Scratch memory_;
};

/// The labels of all steps, time first: ignored in the padding.
std::vector<std::int64_t> real_labels(const RealSteps& real, Series<const std::int64_t> y) {
    std::vector<std::int64_t> labels(static_cast<std::size_t>(real.T * real.B), ignored_label);
    for (Index b = 0; b < real.B; ++b)
        for (Index t = 0; t < real.length(b); ++t) labels[static_cast<std::size_t>(t * real.B + b)] = *y.at(t, b);
    return labels;
}

/// Runs a learning step and returns its loss; does nothing and returns none where a tensor does not fit, as `run`.
template <class S>
std::optional<double> run_step(const StepArguments& a) {
    const Tensors none(a.there.shapes.state.size());
    const Tensors nothing;
    const Shapes& shapes = a.there.shapes;
    if (!a.V.readable || a.V.ndim != 2 || shapes.series.size() <= a.inputs.size()) return {};
    const Index k = a.V.size(0), inputs = static_cast<Index>(a.inputs.size()), d = shapes.series[a.inputs.size()];
    Views views;
    Read<S> there(views, {a.there, false, a.T, a.B, false, a.threads, a.lengths, a.starts, a.matrices, a.parameters, a.inputs,
                          a.initial, none, nothing, a.final, nothing, nothing});
    Read<S> back(views, {a.back, true, a.T, a.B, false, a.threads, a.lengths, a.starts, a.matrices, a.parameters, a.inputs,
                         a.initial, none, none, a.to_initial, none, a.gradients});
    for (std::size_t i = 0; i < a.to_inputs.size(); ++i)
        back.made.push_back(views.series<S>(a.to_inputs[i], a.T, a.B, shapes.series[i], false));
    ReadoutCall<S> readout{};
    readout.N = a.T * a.B, readout.d = d, readout.k = k, readout.threads = a.threads;
    readout.V = views.whole<const S>(a.V, {k, d}), readout.c = views.whole<const S>(a.c, {k});
    readout.dV = views.whole<S>(a.dV, {k, d}), readout.dc = views.whole<S>(a.dc, {k});
    readout.ignored = ignored_label;
    const auto y = views.series<const std::int64_t>(a.y, a.T, a.B, 1, false);
    if (!views.fits || !y) return {};
    const nb::gil_scoped_release released;
    const RealSteps real = there.checked();
    if (k < 1) throw std::invalid_argument("sizes: expected k >= 1");
    real.check_range("y: label", y, k, ignored_label);

    std::vector<Index> widths(shapes.series.begin() + inputs, shapes.series.end());  // the output, and what is kept
    widths.push_back(a.learn ? d : 0);                                              // the output's gradient
    const OwnSeries<S> own(a.T, a.B, widths);
    const std::vector<std::int64_t> labels = real_labels(real, y);
    Index counted = 0;
    for (const std::int64_t label : labels) counted += label != ignored_label;
    double loss = 0;
    readout.divisor = static_cast<double>(a.per_token ? (counted ? counted : 1) : a.B);
    readout.labels = labels.data(), readout.loss = &loss;
    readout.states = {own.all.front().data, d};
    if (a.learn) readout.dstates = {own.all.back().data, d};
    there.made.assign(own.all.begin(), own.all.end() - 1);
    kernels<S>().program_forward(there.call());
    kernels<S>().readout(readout);
    if (!a.learn) return loss;
    back.made.insert(back.made.begin(), own.all.begin(), own.all.end());
    kernels<S>().program_backward(back.call());
    return loss;
}

std::optional<double> run_learning_step(const CodeTables& there, const CodeTables& back, bool is_double, bool learn, Index T,
                                        Index B, int threads, const Tensor& lengths, const Tensor& starts,
                                        const Tensors& matrices, const Tensors& parameters, const Tensors& inputs,
                                        const Tensors& initial, const Tensors& final, const Tensor& V, const Tensor& c,
                                        const Tensor& y, bool per_token, const Tensors& to_inputs, const Tensors& to_initial,
                                        const Tensors& gradients, const Tensor& dV, const Tensor& dc) {
    return (is_double ? run_step<double> : run_step<float>)({there, back, learn, T, B, threads, lengths, starts, matrices,
                                                             parameters, inputs, initial, final, V, c, y, per_token, to_inputs,
                                                             to_initial, gradients, dV, dc});
}

}  // namespace

void add_programs(nb::module_& m) {
    nb::class_<CodeTables>(m, "Code").def(nb::init<const std::map<std::string, Words>&, std::vector<double>>());
    m.def("run_program", &run_program);
    m.def("program_step", &run_learning_step);
}

}  // namespace throughtime
