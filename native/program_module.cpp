// Programs in the Python module: their tables in, kernel calls out. The only caller is engines/native_program.py, which checks
// shapes, types and contiguity; lengths and symbols are checked here.
#include "program_module.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "checks.hpp"
#include "dispatch.hpp"
#include "program_tables.hpp"
#include "scratch.hpp"

namespace nb = nanobind;

namespace throughtime {
namespace {

using Address = std::uintptr_t;            // of a tensor's first element; 0 for none
using Addresses = std::vector<Address>;
using Distances = std::vector<Index>;      // for each tensor its address, then its strides

template <class S>
const Kernels<S>& kernels();
template <>
const Kernels<float>& kernels() { return current_engine().f32; }
template <>
const Kernels<double>& kernels() { return current_engine().f64; }

template <class S>
std::vector<S*> pointers(const Addresses& addresses) {
    std::vector<S*> found;
    for (const Address address : addresses) found.push_back(reinterpret_cast<S*>(address));
    return found;
}

template <class S>
std::vector<Rows<S>> rows(const Distances& distances) {
    std::vector<Rows<S>> found;
    for (std::size_t i = 0; i + 1 < distances.size(); i += 2)
        found.push_back({reinterpret_cast<S*>(distances[i]), distances[i + 1]});
    return found;
}

template <class S>
std::vector<Series<S>> all_series(const Distances& distances) {
    std::vector<Series<S>> found;
    for (std::size_t i = 0; i + 2 < distances.size(); i += 3)
        found.push_back({reinterpret_cast<S*>(distances[i]), distances[i + 1], distances[i + 2]});
    return found;
}

/// What Python passes for a call of either direction; the vectors as ProgramCall describes them.
struct Arguments {
    const Code& code;
    bool backward;
    Extent extent;
    int threads;
    const Addresses &matrices, &parameters;
    const Distances &series, &initial, &arriving, &leaving;
    const Addresses &restart, &leaving_restart, &gradients;
};

template <class S>
void run(const Arguments& a) {
    const auto matrices = pointers<const S>(a.matrices), parameters = pointers<const S>(a.parameters);
    const auto series = all_series<S>(a.series);
    const auto initial = rows<const S>(a.initial), arriving = rows<const S>(a.arriving);
    const auto leaving = rows<S>(a.leaving);
    const auto restart = pointers<const S>(a.restart);
    const auto leaving_restart = pointers<S>(a.leaving_restart);
    const auto gradients = pointers<S>(a.gradients);
    ProgramCall<S> call{};
    call.code = &a.code;
    call.extent = a.extent;
    call.threads = a.threads;
    call.matrices = matrices.data(), call.parameters = parameters.data();
    call.series = series.data();
    if (a.code.symbols) call.symbols = {reinterpret_cast<const std::int64_t*>(a.series.at(0)), a.series.at(1), a.series.at(2)};
    call.initial = initial.data(), call.arriving = arriving.data(), call.leaving = leaving.data();
    call.restart = restart.data(), call.leaving_restart = leaving_restart.data();
    call.gradients = gradients.data();
    for (const Sink& sink : a.code.sinks) {  // new and not yet touched
        const Series<S>& out = series[static_cast<std::size_t>(sink.series)];
        const Index first = out.step > out.row ? out.step * a.extent.T : out.row * a.extent.B;
        prefer_huge_pages(out.data, static_cast<std::size_t>(first) * sizeof(S));
    }
    const RealSteps real{a.extent.T, a.extent.B, a.extent.lengths};
    real.check();
    if (a.code.symbols) real.check_range("x: symbol", call.symbols, a.code.symbols, a.code.symbols);
    (a.backward ? kernels<S>().program_backward : kernels<S>().program_forward)(call);
}

void run_program(const CodeTables& tables, bool is_double, bool backward, Index T, Index B, Address lengths,
                 const Distances& starts, bool reverse, int threads, const Addresses& matrices, const Addresses& parameters,
                 const Distances& series, const Distances& initial, const Addresses& restart, const Distances& arriving,
                 const Distances& leaving, const Addresses& leaving_restart, const Addresses& gradients) {
    const nb::gil_scoped_release released;
    const Series<const bool> marks{reinterpret_cast<const bool*>(starts.at(0)), starts.at(1), starts.at(2)};
    const Extent extent{T, B, reinterpret_cast<const std::int64_t*>(lengths), marks, reverse};
    (is_double ? run<double> : run<float>)({tables.code, backward, extent, threads, matrices, parameters, series, initial, arriving,
                                            leaving, restart, leaving_restart, gradients});
}

}  // namespace

void add_programs(nb::module_& m) {
    nb::class_<CodeTables>(m, "Code").def(nb::init<const std::map<std::string, Words>&, std::vector<double>>());
    m.def("run_program", &run_program);
}

}  // namespace throughtime
