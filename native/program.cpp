#include "program.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

#include "program_tables.hpp"

namespace throughtime {
namespace {

/// Rows of whole numbers as structs that hold nothing else.
template <class T>
Code::Table<T> read_table(const char* name, const Words& rows, std::vector<std::unique_ptr<char[]>>& storage) {
    constexpr std::size_t words = sizeof(T) / sizeof(Index);
    static_assert(sizeof(T) % sizeof(Index) == 0);
    auto memory = std::make_unique<char[]>(rows.size() * sizeof(T) + 1);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows[i].size() != words)
            throw std::invalid_argument(std::string(name) + ": expected rows of " + std::to_string(words) + " numbers, found " +
                                        std::to_string(rows[i].size()));
        std::memcpy(memory.get() + i * sizeof(T), rows[i].data(), sizeof(T));
    }
    const Code::Table<T> table{reinterpret_cast<const T*>(memory.get()), static_cast<Index>(rows.size())};
    storage.push_back(std::move(memory));
    return table;
}

}  // namespace

CodeTables::CodeTables(const std::map<std::string, Words>& tables, std::vector<double> numbers) : numbers_(std::move(numbers)) {
    const auto read = [&]<class T>(const char* name, Code::Table<T>& table) {
        table = read_table<T>(name, tables.at(name), storage_);
    };
    read("places", code.places);
    read("runs", code.runs);
    read("instructions", code.instructions);
    read("packings", code.packings);
    read("terms", code.terms);
    read("products", code.products);
    read("items", code.items);
    read("fillings", code.fillings);
    read("sources", code.sources);
    read("sinks", code.sinks);
    read("parts", code.parts);
    read("contractions", code.contractions);
    read("sums", code.sums);
    read("deliveries", code.deliveries);
    shapes.matrices = tables.at("of_matrices");
    const auto widths = [&](const char* name, std::vector<Index>& found) {
        for (const auto& row : tables.at(name)) found.push_back(row.at(0));
    };
    widths("of_parameters", shapes.parameters);
    widths("of_series", shapes.series);
    widths("of_state", shapes.state);
    widths("of_carried", shapes.carried);
    code.numbers = {numbers_.data(), static_cast<Index>(numbers_.size())};
    const auto& whole = tables.at("whole").at(0);
    code.head = {whole.at(0), whole.at(1)};
    code.slots = {whole.at(1), whole.at(2)};
    code.tail = {whole.at(2), whole.at(3)};
    code.symbols = whole.at(4);
    code.work = whole.at(5);
    code.widest = whole.at(6);
}

}  // namespace throughtime
