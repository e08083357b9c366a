// The part of the Python module that runs programs.
#pragma once

#include <nanobind/nanobind.h>

namespace throughtime {

void add_programs(nanobind::module_& m);

}  // namespace throughtime
