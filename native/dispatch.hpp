// Which copies of the kernel this machine can run, and which one runs.
#pragma once

#include <string>
#include <vector>

#include "problem.hpp"

namespace throughtime {

/// The engines that were built and that this processor supports, best first. Never empty.
const std::vector<const Engine*>& supported_engines();

/// The engine in use: the best one, or the one named by the environment variable THROUGHTIME_ISA or by choose_engine.
/// Throws std::invalid_argument if that name is not among the supported ones.
const Engine& current_engine();

/// Uses another engine from the next call on; an empty name means the best.
void choose_engine(const std::string& name);

}  // namespace throughtime
