// The tables of a program as they come from Python, and the memory that holds them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "program.hpp"

namespace throughtime {

using Words = std::vector<std::vector<Index>>;  // a table, row by row

class CodeTables {
  public:
    /// `tables`: by the names of Code's members, and "whole", one row: where head, slots and tail begin and end, symbols,
    /// work, widest. Throws std::invalid_argument where a row does not fit its table, std::out_of_range where a table is missing.
    CodeTables(const std::map<std::string, Words>& tables, std::vector<double> numbers);
    CodeTables(const CodeTables&) = delete;
    CodeTables& operator=(const CodeTables&) = delete;

    Code code;

  private:
    std::vector<std::unique_ptr<char[]>> storage_;
    std::vector<double> numbers_;
};

}  // namespace throughtime
