// Both directions of a program over time: a chunk at a time, its head, its slots one after the other, its tail; on the way
// back also what the rows of the chunk add to the gradients, while they are in the cache.
#pragma once

#include "interpreter.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Copies runs of the caller's row to their places in a row of scratch memory, and back.
template <class S>
THROUGHTIME_INLINE void place_row(const Code& code, const Range& runs, const S* from, S* to) {
    for (Index q = runs.first; q < runs.last; ++q) copy_row(to + code.runs[q].to, from + code.runs[q].from, code.runs[q].width);
}
template <class S>
THROUGHTIME_INLINE void take_row(const Code& code, const Range& runs, const S* from, S* to) {
    for (Index q = runs.first; q < runs.last; ++q) copy_row(to + code.runs[q].from, from + code.runs[q].to, code.runs[q].width);
}
template <class S>
THROUGHTIME_INLINE void clear_row(const Code& code, const Range& runs, S* to) {
    for (Index q = runs.first; q < runs.last; ++q) fill_zero(to + code.runs[q].to, code.runs[q].width);
}

/// A task of either direction.
template <class S>
class ProgramTask {
  public:
    ProgramTask(const ProgramCall<S>& call, const PackedProgram<S>& packed, const Places<S>& places)
        : call_(call), code_(*call.code), packed_(packed), places_(places), interpreter_(call, packed, places) {}

    void walk_forward(const Block& block) const {
        for (Index p = 0; p < code_.parts.count; ++p) {
            for (Index i = 0; i < block.rows; ++i)
                read_row(code_.parts[p].runs, first_state(block, p, i), front(p, i));
            write_final(block, 0, p, front(p, 0));
        }
        for (Index c = 0; c < block.chunks; ++c) {
            const Chunk chunk(block, c);
            interpreter_.begin(chunk);
            read_sources(chunk);
            interpreter_.run_chunk(code_.head, chunk);
            for (Index tau = chunk.first; tau < chunk.last; ++tau) interpreter_.run_slot(code_.slots, chunk, tau);
            interpreter_.run_chunk(code_.tail, chunk);
            write_sinks(chunk);
            for (Index p = 0; p < code_.parts.count; ++p) {
                for (Index tau = chunk.first; tau < chunk.last; ++tau)
                    write_final(block, tau, p, interpreter_.rows(code_.parts[p].place, chunk, tau));
                advance(chunk, code_.parts[p].place);
            }
        }
        clear_sinks(block);
    }

    void walk_back(const Block& block, S* const* sums, S* const* restart, Index* symbol_rows, bool fresh) const {
        for (Index c = block.chunks - 1; c >= 0; --c) {
            const Chunk chunk(block, c);
            read_sources(chunk);
            interpreter_.run_chunk(code_.head, chunk);
            for (Index tau = chunk.last - 1; tau >= chunk.first; --tau) {
                arrive(block, chunk.alive(tau + 1), chunk.alive(tau));
                interpreter_.run_slot(code_.slots, chunk, tau);
            }
            interpreter_.run_chunk(code_.tail, chunk);
            write_sinks(chunk);
            for (const Contraction& k : code_.contractions) contract(chunk, k, sums[k.sum], symbol_rows, fresh);
            fresh = false;
        }
        arrive(block, block.count[1], block.rows);
        for (Index p = 0; p < code_.parts.count; ++p)
            for (Index i = 0; i < block.rows; ++i) {
                if (!block.takes_initial(i)) add_row(p, front(p, i), restart[p]);
                else if (call_.leaving[p]) take_row<S>(code_, code_.parts[p].runs, front(p, i), call_.leaving[p].at(block.order[i]));
            }
        clear_sinks(block);
    }

  private:
    /// Row i of the first slot in a part's memory.
    S* front(Index part, Index i) const {
        const Index place = code_.parts[part].place;
        return places_.memory[place] + i * places_.spots[place].row;
    }

    /// The caller's row, or zeros where it is null.
    void read_row(const Range& runs, const S* row, S* to) const {
        if (row) place_row(code_, runs, row, to);
        else clear_row(code_, runs, to);
    }

    /// What row i begins with; null for zero.
    const S* first_state(const Block& block, Index part, Index i) const {
        return block.takes_initial(i) ? call_.initial[part].or_null(block.order[i]) : call_.restart[part];
    }

    /// to += the row of a part, as the caller's rows are.
    void add_row(Index part, const S* row, S* to) const {
        const Range& runs = code_.parts[part].runs;
        for (Index q = runs.first; to && q < runs.last; ++q)
            for (Index j = 0; j < code_.runs[q].width; ++j) to[code_.runs[q].from + j] += row[code_.runs[q].to + j];
    }

    void write_final(const Block& block, Index tau, Index part, const S* states) const {
        const Index row = places_.spots[code_.parts[part].place].row;
        for (Index i = block.count[tau + 1]; call_.leaving[part] && i < block.count[tau]; ++i)
            if (block.gives_final(i))
                take_row(code_, code_.parts[part].runs, states + i * row, call_.leaving[part].at(block.order[i]));
    }

    /// What reaches the last states of the rows first .. last - 1 from outside.
    void arrive(const Block& block, Index first, Index last) const {
        for (Index p = 0; p < code_.parts.count; ++p)
            for (Index i = first; i < last; ++i) {
                const S* const row = block.gives_final(i) ? call_.arriving[p].or_null(block.order[i]) : nullptr;
                read_row(code_.parts[p].runs, row, front(p, i));
            }
    }

    /// The last slot of a chunk becomes the one before the next.
    void advance(const Chunk& chunk, Index place) const {
        const Spot<S>& spot = places_.spots[place];
        std::memmove(places_.memory[place], spot.at(chunk, chunk.last - 1),
                     static_cast<std::size_t>(chunk.alive(chunk.last) * spot.row) * sizeof(S));
    }

    void read_sources(const Chunk& chunk) const {
        for (const Source& source : code_.sources) read_source(chunk, source);
    }

    void read_source(const Chunk& chunk, const Source& source) const {
        const Block& block = *chunk.block;
        Spot<S>& spot = places_.spots[source.place];
        const Series<S>& series = call_.series[source.series];
        if (!series && source.part < 0) {
            spot = {packed_.zeros, 0, 0, false};
            return;
        }
        const Index lag = source.part >= 0, alive = chunk.alive(chunk.first), first = chunk.first - lag;
        const Index width = code_.runs[source.runs.first].width;
        if (source.as_is && first >= 1 && (!source.vectors || width % lanes<S> == 0)) {
            S* const begin = series.at(block.time(first, 0), block.order[0]) + code_.runs[source.runs.first].from;
            if (chunk.even() && alive == 1) {
                const Index step = block.reverse ? -series.step : series.step;
                spot = {begin, step, step, false};
                return;
            }
            const bool apart = block.in_order && !block.reverse;
            if (apart && (!source.uniform || (chunk.even() && series.step == alive * series.row))) {
                spot = {begin, series.row, series.step, false};
                return;
            }
        }
        S* to = places_.memory[source.place];
        const Index stride = row_stride<S>(code_.places[source.place].width);
        spot = {to, stride, 0, true};
        for (Index tau = chunk.first; tau < chunk.last; ++tau)
            for (Index i = 0; i < chunk.alive(tau); ++i, to += stride) {
                if (tau - lag >= 1) place_row<S>(code_, source.runs, series.at(block.time(tau - lag, i), block.order[i]), to);
                else read_row(source.initial, first_state(block, source.part, i), to);
            }
    }

    void write_sinks(const Chunk& chunk) const {
        for (const Sink& sink : code_.sinks) {
            const Series<S>& series = call_.series[sink.series];
            const Block& block = *chunk.block;
            const Index row = places_.spots[sink.place].row;
            for (Index tau = chunk.first; tau < chunk.last; ++tau) {
                const S* from = interpreter_.rows(sink.place, chunk, tau);
                for (Index i = 0; i < chunk.alive(tau); ++i)
                    take_row(code_, sink.runs, from + i * row, series.at(block.time(tau, i), block.order[i]));
            }
        }
    }

    void clear_sinks(const Block& block) const {
        for (const Sink& sink : code_.sinks)
            for (Index q = sink.runs.first; q < sink.runs.last; ++q) {
                Series<S> part = call_.series[sink.series];
                part.data += code_.runs[q].from;
                clear_padding(block, call_.extent.T, code_.runs[q].width, part);
            }
    }

    void contract(const Chunk& chunk, const Contraction& k, S* sum, Index* symbol_rows, bool fresh) const {
        static constexpr S one = 1;
        const Index ldc = row_stride<S>(code_.sums[k.sum].width);
        const Spot<S>& b = places_.spots[k.b];
        if (k.a == symbols_of) {
            add_by_symbol<S>(chunk, call_.symbols, k.N, {b.data + k.b_at, b.row}, symbol_rows, symbol_rows + code_.symbols,
                             {sum + k.column, ldc});
            return;
        }
        S* const to = sum + k.row * ldc + k.column;
        const S* const a = k.a == ones ? &one : places_.spots[k.a].data + k.a_at;
        const Index lda = k.a == ones ? 0 : places_.spots[k.a].row;
        accumulate<S>(k.M, k.N, chunk.rows(), a, lda, in_place<S>(b.data + k.b_at, b.row), fresh ? packed_.zeros : to, fresh ? 0 : ldc,
                      to, ldc);
    }

    const ProgramCall<S>& call_;
    const Code& code_;
    const PackedProgram<S>& packed_;
    const Places<S>& places_;
    Interpreter<S> interpreter_;
};

/// See add_by_symbol.
struct SymbolRows {
    Index* rows;  // [symbols], -1 before and after; [chunk rows]

    void lay_out(Arena& arena, const Code& code, const Task& task) {
        rows = arena.take<Index>(code.symbols ? code.symbols + task.chunk_rows : 0);
    }
    void start(const Code& code) const {
        for (Index i = 0; i < code.symbols; ++i) rows[i] = -1;
    }
};

/// The gradient sums of all tasks: of task q, the sum s is at sums[q * count + s].
template <class S>
struct ProgramSums {
    S** sums;
    S** restart;  // of task q, the part p is at restart[q * parts + p]

    void lay_out(Arena& arena, const Code& code, Index tasks, bool pieces) {
        const Index count = code.sums.count, parts = code.parts.count;
        restart = arena.take<S*>(tasks * parts);
        for (Index i = 0; i < tasks * parts; ++i) {
            S* const memory = pieces ? arena.take<S>(code.parts[i % parts].width) : nullptr;
            if (restart) restart[i] = memory;
        }
        sums = arena.take<S*>(tasks * count);
        for (Index i = 0; i < tasks * count; ++i) {
            const SumOf& of = code.sums[i % count];
            S* const memory = arena.take<S>(of.rows * row_stride<S>(of.width));
            if (sums) sums[i] = memory;
        }
    }

    /// Zeros where the first chunk does not set a sum, or where there is none.
    void start(const Code& code, Index task, bool any) const {
        for (Index s = 0; s < code.sums.count; ++s)
            if (code.sums[s].by_symbol || !any)
                fill_zero(sums[task * code.sums.count + s], code.sums[s].rows * row_stride<S>(code.sums[s].width));
        for (Index p = 0; p < code.parts.count; ++p)
            if (S* const own = restart[task * code.parts.count + p]) fill_zero(own, code.parts[p].width);
    }
};

/// Brings one sum of all tasks, added in their order, to the caller; large ones are shared among threads.
template <class S>
class Deliverer {
  public:
    Deliverer(const Code& code, const Delivery& to, S* const* sums, Index tasks, S* target)
        : code_(code), to_(to), sums_(sums), tasks_(tasks), target_(target), stride_(row_stride<S>(code.sums[to.sum].width)) {}

    void deliver(int threads) const {
        constexpr Index large = 32768;  // numbers, from which on it pays to share them
        for (Index q = to_.runs.first; q < to_.runs.last; ++q) {
            const Run& run = code_.runs[q];
            const Index lines = to_.transposed ? (run.width + lanes<S> - 1) / lanes<S> : to_.rows;
            const Index pieces = smaller(smaller(lines, threads), 1 + to_.rows * run.width / large);
            parallel_for(threads, pieces, [&](Index piece) {
                const Index first = lines * piece / pieces, last = lines * (piece + 1) / pieces;
                if (to_.transposed) squares(run, first * lanes<S>, smaller(last * lanes<S>, run.width));
                else rows(run, first, last);
            });
        }
    }

  private:
    /// Row i of the sum of all tasks, from column j on.
    Vector<S> total(Index i, Index j) const {
        Vector<S> value{};
        for (Index task = 0; task < tasks_; ++task) value += load(sums_[task * code_.sums.count + to_.sum] + i * stride_ + j);
        return value;
    }

    void write(S* to, Vector<S> value, Index width) const {
        S row[lanes<S>] = {};
        if (width == lanes<S>) return store(to, to_.add ? load<S>(to) + value : value);
        if (to_.add) copy_row<S>(row, to, width);
        store(row, load<S>(row) + value);
        copy_row<S>(to, row, width);
    }

    void rows(const Run& run, Index first, Index last) const {
        for (Index i = first; i < last; ++i) {
            S* const to = target_ + (to_.row + i) * to_.stride + to_.column + run.from;
            for (Index j = 0; j < run.width; j += lanes<S>)
                write(to + j, total(i, run.to + j), smaller(lanes<S>, run.width - j));
        }
    }

    /// The sum's columns first .. last - 1 of a run, which are rows of the caller's.
    void squares(const Run& run, Index first, Index last) const {
        for (Index j = first; j < last; j += lanes<S>)
            for (Index i = 0; i < to_.rows; i += lanes<S>) {
                const Index down = smaller(lanes<S>, last - j), across = smaller(lanes<S>, to_.rows - i);
                Vector<S> square[lanes<S>] = {};
                for (Index k = 0; k < across; ++k) square[k] = total(i + k, run.to + j);
                transpose<S>(square);
                S* const to = target_ + (to_.row + run.from + j) * to_.stride + to_.column + i;
                for (Index k = 0; k < down; ++k) write(to + k * to_.stride, square[k], across);
            }
    }

    const Code& code_;
    const Delivery& to_;
    S* const* sums_;
    Index tasks_;
    S* target_;
    Index stride_;
};

template <class S>
void program_forward(const ProgramCall<S>& call) {
    const Code& code = *call.code;
    const Plan plan(call.extent, call.threads, code.work);
    const Workspace<PackedProgram<S>> packed(call);
    packed.parts.pack(call);
    parallel_for(plan.threads, plan.count, [&](Index q) {
        const Task& task = plan.tasks[q];
        const Workspace<Places<S>> places(code, task);
        const ProgramTask<S> runner(call, packed.parts, places.parts);
        for (const Block* block = task.begin; block != task.end; ++block) runner.walk_forward(*block);
    });
}

template <class S>
void program_backward(const ProgramCall<S>& call) {
    const Code& code = *call.code;
    const Plan plan(call.extent, call.threads, code.work);
    const Workspace<PackedProgram<S>> packed(call);
    packed.parts.pack(call);
    const Workspace<ProgramSums<S>> sums(code, plan.count, static_cast<bool>(call.extent.starts));
    parallel_for(plan.threads, plan.count, [&](Index q) {
        const Task& task = plan.tasks[q];
        const Workspace<Places<S>> places(code, task);
        const Workspace<SymbolRows> rows(code, task);
        rows.parts.start(code);
        sums.parts.start(code, q, task.begin->steps > 0);
        const ProgramTask<S> runner(call, packed.parts, places.parts);
        for (const Block* block = task.begin; block != task.end; ++block)
            runner.walk_back(*block, sums.parts.sums + q * code.sums.count, sums.parts.restart + q * code.parts.count, rows.parts.rows,
                             block == task.begin);
    });
    for (const Delivery& to : code.deliveries)
        Deliverer<S>(code, to, sums.parts.sums, plan.count, call.gradients[to.target]).deliver(plan.threads);
    for (Index i = 0; i < plan.count * code.parts.count; ++i)
        if (S* const to = call.leaving_restart[i % code.parts.count])
            for (Index j = 0; sums.parts.restart[i] && j < code.parts[i % code.parts.count].width; ++j) to[j] += sums.parts.restart[i][j];
}

}  // namespace throughtime::THROUGHTIME_ISA
