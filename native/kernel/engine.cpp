// The kernel of one instruction set. Compiled once for each, with its own flags; see vector.hpp.
#include "program.hpp"
#include "readout.hpp"
#include "step.hpp"

#define THROUGHTIME_TEXT_OF(name) #name
#define THROUGHTIME_TEXT(name) THROUGHTIME_TEXT_OF(name)

namespace throughtime::THROUGHTIME_ISA {
namespace {

template <class S, class Function>
void map(const S* x, S* y, Index count, Function function) {
    for (Index i = 0; i < count; i += lanes<S>) {
        S in[lanes<S>] = {}, out[lanes<S>];
        copy_row(in, x + i, smaller(lanes<S>, count - i));
        store(out, function(load<S>(in)));
        copy_row(y + i, out, smaller(lanes<S>, count - i));
    }
}

template <class S>
constexpr Kernels<S> kernels() {
    return {
        forward<S>,
        backward<S>,
        learning_step<S>,
        readout<S>,
        program_forward<S>,
        program_backward<S>,
        [](const S* x, S* y, Index count) { map<S>(x, y, count, [](Vector<S> a) { return exp<S>(a); }); },
        [](Nonlinearity which, const S* x, S* y, Index count) {
            with_cell<S>(which, [&](auto cell) { map<S>(x, y, count, [](Vector<S> a) { return decltype(cell)::value(a); }); });
        },
    };
}

}  // namespace

extern const Engine engine;
const Engine engine = {THROUGHTIME_TEXT(THROUGHTIME_ISA), kernels<float>(), kernels<double>()};

}  // namespace throughtime::THROUGHTIME_ISA
