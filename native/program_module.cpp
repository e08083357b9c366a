// Programs in the Python module: their tables and tensors in, kernel calls out. The only caller is engines/native_program.py.
// Every shape, type and stride is checked here, and lengths and symbols.
#include "program_module.hpp"

#include <nanobind/stl/map.h>
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

/// Runs the call; does nothing and returns false where a tensor has not the shape, type or memory that the kernel reads.
template <class S>
bool run(const Arguments& a) {
    const Code& code = a.tables.code;
    const Shapes& shapes = a.tables.shapes;
    Views views;
    const std::size_t weights = shapes.matrices.size() + shapes.parameters.size();
    const bool counts = a.matrices.size() == shapes.matrices.size() && a.parameters.size() == shapes.parameters.size() &&
                        a.series.size() == shapes.series.size() && a.initial.size() == shapes.state.size() &&
                        a.restart.size() == shapes.state.size() && (a.gradients.empty() || a.gradients.size() == weights);
    if (!counts) throw std::invalid_argument("tensors: expected as many as the program has");
    const auto matrices = all_matrices<const S>(views, a.matrices, shapes.matrices);
    const auto parameters = all_whole<const S>(views, a.parameters, shapes.parameters);
    Series<const std::int64_t> symbols;
    std::vector<Series<S>> series;
    for (std::size_t i = 0; i < a.series.size(); ++i) {
        const bool is_symbols = code.symbols && i == 0;
        if (is_symbols) symbols = views.series<const std::int64_t>(a.series[0], a.T, a.B, 1, false);
        series.push_back(is_symbols ? Series<S>{} : views.series<S>(a.series[i], a.T, a.B, shapes.series[i], false));
    }
    const auto initial = all_rows<const S>(views, a.initial, a.B, shapes.state);
    const auto arriving = all_rows<const S>(views, a.arriving, a.B, shapes.carried);
    const auto leaving = all_rows<S>(views, a.leaving, a.B, shapes.state);
    const auto restart = all_whole<const S>(views, a.restart, shapes.state);
    const auto leaving_restart = all_whole<S>(views, a.leaving_restart, shapes.state);
    std::vector<S*> gradients;
    if (!a.gradients.empty()) {
        const auto parted = a.gradients.begin() + static_cast<std::ptrdiff_t>(shapes.matrices.size());
        gradients = all_matrices<S>(views, {a.gradients.begin(), parted}, shapes.matrices);
        for (S* const g : all_whole<S>(views, {parted, a.gradients.end()}, shapes.parameters)) gradients.push_back(g);
    }
    const auto* const lengths = views.whole<const std::int64_t>(a.lengths, {a.B});
    const Series<const bool> starts = views.series<const bool>(a.starts, a.T, a.B, 1, false);
    if (!views.fits) return false;
    const nb::gil_scoped_release released;
    ProgramCall<S> call{};
    call.code = &code;
    call.extent = {a.T, a.B, lengths, starts, a.reverse};
    call.threads = a.threads;
    call.matrices = matrices.data(), call.parameters = parameters.data();
    call.series = series.data();
    call.symbols = symbols;
    call.initial = initial.data(), call.arriving = arriving.data(), call.leaving = leaving.data();
    call.restart = restart.data(), call.leaving_restart = leaving_restart.data();
    call.gradients = gradients.data();
    for (const Sink& sink : code.sinks) {  // new and not yet touched
        const Series<S>& out = series[static_cast<std::size_t>(sink.series)];
        const Index first = out.step > out.row ? out.step * a.T : out.row * a.B;
        prefer_huge_pages(out.data, static_cast<std::size_t>(first) * sizeof(S));
    }
    const RealSteps real{a.T, a.B, lengths};
    real.check();
    if (code.symbols) real.check_range("x: symbol", symbols, code.symbols, code.symbols);
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

}  // namespace

void add_programs(nb::module_& m) {
    nb::class_<CodeTables>(m, "Code").def(nb::init<const std::map<std::string, Words>&, std::vector<double>>());
    m.def("run_program", &run_program);
}

}  // namespace throughtime
