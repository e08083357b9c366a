// The tables of a program as they come from Python, and the memory that holds them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "program.hpp"

namespace throughtime {

using Words = std::vector<std::vector<Index>>;  // a table, row by row

/// What the tensors of a call must be.
struct Shapes {
    Words matrices;                  // rows, columns of each
    std::vector<Index> parameters;   // numbers of each
    std::vector<Index> series;       // width of each; symbols have none
    std::vector<Index> state;        // width of each part
    std::vector<Index> carried;      // backward: of each part of what arrives at the last states
};

class CodeTables {
  public:
    /// `tables`: by the names of Code's members and of Shapes' (with "of_" before them), and "whole", one row: where head, slots
    /// and tail begin and end, symbols, work, widest. Throws std::invalid_argument where a row does not fit its table, std::out_of_range where a table is missing.
    CodeTables(const std::map<std::string, Words>& tables, std::vector<double> numbers);
    CodeTables(const CodeTables&) = delete;
    CodeTables& operator=(const CodeTables&) = delete;

    Code code;
    Shapes shapes;

  private:
    std::vector<std::unique_ptr<char[]>> storage_;
    std::vector<double> numbers_;
};

}  // namespace throughtime
