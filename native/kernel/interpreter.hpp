// The instructions of a program, run over the slots of a chunk and over its rows as a whole.
#pragma once

#include "contract.hpp"
#include "elementwise.hpp"
#include "packing.hpp"

namespace throughtime::THROUGHTIME_ISA {

/// Where the rows of a place are while a chunk is worked on.
template <class S>
struct Spot {
    S* data = nullptr;  // of slot `first`
    Index row = 0;      // from a row of a slot to the next
    Index slot = 0;     // from a slot to the next, where they are not packed
    bool packed = false;

    THROUGHTIME_INLINE S* at(const Chunk& chunk, Index tau) const {
        return data + (packed ? chunk.row(tau) * row : (tau - chunk.first) * slot);
    }
};

/// The memory of a task for the places of a program. A place's rows lie at a distance of row_stride(width).
template <class S>
struct Places {
    S** memory;      // by place
    Spot<S>* spots;  // by place, of the chunk at hand
    S** here;        // by place, of the slot at hand

    void lay_out(Arena& arena, const Code& code, const Task& task) {
        const Index count = code.places.count;
        memory = arena.take<S*>(count);
        spots = arena.take<Spot<S>>(count);
        here = arena.take<S*>(count);
        for (Index i = 0; i < count; ++i) {
            S* const own = arena.take<S>(rows_of(code.places[i], task) * row_stride<S>(code.places[i].width));
            if (memory) memory[i] = own;
        }
    }

  private:
    static Index rows_of(const Place& place, const Task& task) {
        switch (place.home) {
            case Home::source:
            case Home::chunk: return task.chunk_rows;
            case Home::state: return task.block_rows + task.chunk_rows;
            case Home::slot: return task.block_rows;
            case Home::strip: return place.of;
            default: return 0;
        }
    }
};

template <class S>
class Interpreter {
  public:
    Interpreter(const ProgramCall<S>& call, const PackedProgram<S>& packed, const Places<S>& places)
        : call_(call), code_(*call.code), packed_(packed), places_(places) {
        for (Index i = 0; i < code_.places.count; ++i) {
            const Place& place = code_.places[i];
            Spot<S>& spot = places_.spots[i];
            spot = {places_.memory[i], row_stride<S>(place.width), 0, place.home == Home::chunk || place.home == Home::state};
            if (place.home == Home::fixed) spot = {packed_.fixed[i], 0, 0, false};
        }
    }

    /// Where slot `first` of the chunk lies in the state's places: behind the rows of a block.
    void begin(const Chunk& chunk) const {
        for (Index i = 0; i < code_.places.count; ++i)
            if (code_.places[i].home == Home::state)
                places_.spots[i].data = places_.memory[i] + chunk.block->rows * places_.spots[i].row;
    }

    /// Runs items for all rows of a chunk.
    void run_chunk(const Range& items, const Chunk& chunk) const {
        for (Index i = items.first; i < items.last; ++i) {
            const Item& item = code_.items[i];
            if (item.product >= 0) {
                enter(chunk, chunk.first);
                multiply_all(code_.products[item.product], chunk, chunk.rows());
            } else if (even(item, chunk)) {
                enter(chunk, chunk.first);
                run(item, chunk.rows());
            } else {
                for (Index tau = chunk.first; tau < chunk.last; ++tau) {
                    enter(chunk, tau);
                    run(item, chunk.alive(tau));
                }
            }
        }
    }

    /// Runs items for the rows of a slot.
    void run_slot(const Range& items, const Chunk& chunk, Index tau) const {
        enter(chunk, tau);
        for (Index i = items.first; i < items.last; ++i) {
            const Item& item = code_.items[i];
            if (item.product >= 0) multiply_all(code_.products[item.product], chunk, chunk.alive(tau));
            else run(item, chunk.alive(tau));
        }
    }

    /// The rows of a place in a slot.
    S* rows(Index place, const Chunk& chunk, Index tau) const {
        const Place& p = code_.places[place];
        if (p.home != Home::before) return places_.spots[place].at(chunk, tau);
        return tau > chunk.first ? places_.spots[p.of].at(chunk, tau - 1) : places_.memory[p.of];
    }

  private:
    void enter(const Chunk& chunk, Index tau) const {
        for (Index i = 0; i < code_.places.count; ++i) places_.here[i] = rows(i, chunk, tau);
    }

    /// Whether the rows of all slots of a chunk lie at one distance in all places that a run touches.
    bool even(const Item& item, const Chunk& chunk) const {
        for (Index i = item.instructions.first; i < item.instructions.last; ++i) {
            const Instruction& ins = code_.instructions[i];
            for (const Operand* o : {&ins.out, &ins.in[0], &ins.in[1], &ins.in[2]})
                if (o->place >= 0 && !even(o->place, chunk)) return false;
        }
        return true;
    }

    bool even(Index place, const Chunk& chunk) const {
        const Home home = code_.places[place].home;
        const Spot<S>& spot = places_.spots[place];
        if (home == Home::fixed || home == Home::strip) return true;
        if (home == Home::slot || home == Home::before) return false;
        return spot.packed || spot.row == 0 || (chunk.even() && spot.slot == chunk.alive(chunk.first) * spot.row);
    }

    void multiply_all(const ProductOf& product, const Chunk& chunk, Index rows) const {
        const Spot<S>& to = places_.spots[product.out.place];
        S* const out = places_.here[product.out.place] + product.out.at;
        const S* init = packed_.zeros;
        Index init_row = 0;
        if (product.init.place >= 0) {
            init = places_.here[product.init.place] + product.init.at;
            init_row = row_of(product.init.place);
        }
        for (Index i = product.terms.first; i < product.terms.last; ++i) {
            const Term& term = code_.terms[i];
            const S* const weight = packed_.weights[term.weight];
            if (term.place < 0) {
                look_up(chunk, weight, product.N, init, init_row, out, to.row);
            } else {
                const Panels<S> panels{weight, 2 * lanes<S>, 2 * lanes<S> * term.K};
                multiply(rows, product.N, term.K, places_.here[term.place] + term.at, row_of(term.place), panels, init, init_row,
                         out, to.row);
            }
            init = out;
            init_row = to.row;
        }
    }

    /// The product with a symbol is a column of the matrix.
    void look_up(const Chunk& chunk, const S* table, Index N, const S* init, Index init_row, S* out, Index out_row) const {
        const Index stride = row_stride<S>(N);
        for_rows(chunk, [&](Index r, Index t, Index b) {
            const S* column = table + *call_.symbols.at(t, b) * stride;
            for (Index j = 0; j < N; j += lanes<S>)
                store(out + r * out_row + j, load(init + r * init_row + j) + load(column + j));
        });
    }

    Index row_of(Index place) const {
        const Place& p = code_.places[place];
        return places_.spots[p.home == Home::before ? p.of : place].row;
    }

    void run(const Item& item, Index rows) const {
        const Index most = larger(1, strip_units / item.widest);
        for (Index r = 0; r < rows; r += most)
            for (Index i = item.instructions.first; i < item.instructions.last; ++i) {
                const Instruction& ins = code_.instructions[i];
                Strip<S> strip;
                strip.rows = smaller(most, rows - r);
                strip.width = ins.width;
                strip.out_row = row_of(ins.out.place);
                strip.out = from_row(ins.out, strip.out_row, r);
                for (int k = 0; k < 3 && ins.in[k].place >= 0; ++k) {
                    strip.in_row[k] = row_of(ins.in[k].place);
                    strip.in[k] = from_row(ins.in[k], strip.in_row[k], r);
                    strip.unit[k] = 1 - ins.in[k].spread;
                }
                execute(ins.operation, strip);
            }
    }

    S* from_row(const Operand& operand, Index row, Index r) const {
        return places_.here[operand.place] + operand.at + (code_.places[operand.place].home == Home::strip ? 0 : r * row);
    }

    const ProgramCall<S>& call_;
    const Code& code_;
    const PackedProgram<S>& packed_;
    const Places<S>& places_;
};

}  // namespace throughtime::THROUGHTIME_ISA
