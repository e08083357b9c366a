#include "plan.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace throughtime {
namespace {

constexpr Index block_rows = 64;          // enough to reuse the weights, few enough for several steps in a chunk
constexpr Index chunk_rows = 256;         // rows whose states and deltas stay in the cache until they are contracted
constexpr Index task_rows = 16;            // below this a register tile is not full
constexpr Index thread_rows = 32;         // rows of all steps below which the weights cost a further thread more than the rows
constexpr Index cached_work = 300'000;    // multiply-adds per row and step, hence weights, up to which the latter stay cached
constexpr Index work_per_thread = 2'000'000;  // multiply-adds (some 20 microseconds) below which a second thread does not pay

/// What is walked, row by row: the caller's rows, or pieces of them. Longest first; those of equal length keep their order.
struct WalkedRows {
    std::vector<Index> order, begin, length, ends;

    void add(Index row, Index first, Index steps, Index which) {
        order.push_back(row), begin.push_back(first), length.push_back(steps), ends.push_back(which);
    }

    Index count() const { return static_cast<Index>(order.size()); }
    Index steps() const { return std::accumulate(length.begin(), length.end(), Index{0}); }

    void cut(const Extent& extent) {
        for (Index b = 0; b < extent.B; ++b) {
            const Index length = extent.lengths ? extent.lengths[b] : extent.T;
            const std::size_t first = order.size();
            Index from = 0;
            for (Index t = 1; extent.starts && t < length; ++t)
                if (*extent.starts.at(t, b)) {
                    add(b, from, t - from, 0);
                    from = t;
                }
            add(b, from, length - from, 0);
            // The state of the call belongs to the piece walked first, unless that begins, in time, where it is marked.
            const std::size_t last = order.size() - 1;
            const bool marked = extent.starts && length > 0 && *extent.starts.at(0, b);
            if (extent.reverse) ends[last] |= starts_row, ends[first] |= ends_row;
            else ends[first] |= marked ? 0 : starts_row, ends[last] |= ends_row;
        }
        sort(extent);
    }

  private:
    void sort(const Extent& extent) {
        if (!extent.lengths && !extent.starts) return;
        std::vector<Index> rank(order.size());
        std::iota(rank.begin(), rank.end(), Index{0});
        std::stable_sort(rank.begin(), rank.end(), [&](Index i, Index j) { return length[i] > length[j]; });
        for (std::vector<Index>* of : {&order, &begin, &length, &ends}) {
            std::vector<Index> sorted;
            for (const Index i : rank) sorted.push_back((*of)[i]);
            *of = std::move(sorted);
        }
    }
};

/// Cuts the sorted rows first .. last - 1 into blocks of nearly equal size and appends them.
void append_blocks(std::vector<Block>& blocks, const WalkedRows& rows, Index first, Index last, bool reverse) {
    const Index pieces = (last - first + block_rows - 1) / block_rows;
    for (Index piece = 0; piece < pieces; ++piece) {
        const Index begin = first + (last - first) * piece / pieces;
        const Index end = first + (last - first) * (piece + 1) / pieces;
        Block block{};
        block.rows = end - begin;
        block.order = rows.order.data() + begin;
        block.begin = rows.begin.data() + begin;
        block.ends = rows.ends.data() + begin;
        block.length = rows.length.data() + begin;
        block.steps = block.length[0];
        block.reverse = reverse;
        block.in_order = true;
        for (Index i = 1; i < block.rows; ++i)
            block.in_order &= block.order[i] == block.order[i - 1] + 1 && block.begin[i] == block.begin[0];
        blocks.push_back(block);
    }
}

Index table_size(const Block& block) { return 3 * block.steps + 8; }

/// Writes count, start and chunk of a block to `table` [table_size].
void fill_tables(Block& block, Index* table) {
    Index* count = table;
    Index* start = count + block.steps + 2;
    Index* chunk = start + block.steps + 3;
    Index alive = block.rows;
    start[0] = 0;
    for (Index tau = 0; tau <= block.steps + 1; ++tau) {
        while (alive > 0 && block.length[alive - 1] < tau) --alive;
        count[tau] = alive;
        start[tau + 1] = start[tau] + alive;
    }
    chunk[0] = 1;
    for (Index tau = 1; tau <= block.steps; ++tau) {
        if (start[tau + 1] - start[chunk[block.chunks]] > chunk_rows && tau > chunk[block.chunks]) chunk[++block.chunks] = tau;
        block.chunk_rows = std::max(block.chunk_rows, start[tau + 1] - start[chunk[block.chunks]]);
    }
    if (block.steps > 0) chunk[++block.chunks] = block.steps + 1;
    block.count = count;
    block.start = start;
    block.chunk = chunk;
}

/// Two tasks for each thread, so that one which is held up leaves work to the others; but one where tasks would have few rows,
/// or where the weights do not stay in a core's own cache and must serve many rows each time they are fetched.
Index number_of_tasks(Index threads, Index B, Index work_per_row) {
    const bool finer = threads > 1 && B >= 2 * threads * task_rows && work_per_row <= cached_work;
    return finer ? 2 * threads : threads;
}

}  // namespace

struct Plan::Storage {
    WalkedRows rows;
    std::vector<Index> tables;
    std::vector<Block> blocks;
    std::vector<Index> first_block;  // of each task, and the end
    std::vector<Task> tasks;

    /// Cuts the rows into `count` tasks of nearly equal numbers of steps, at least one row each.
    void cut(Index count, Index total, bool reverse) {
        const Index B = rows.count();
        Index first = 0, passed = 0;
        for (Index task = 0; task < count; ++task) {
            const Index most = B - (count - 1 - task), share = total * (task + 1) / count;
            Index last = first;
            while (last < most && (last == first || task == count - 1 || passed + rows.length[last] / 2 < share))
                passed += rows.length[last++];
            first_block.push_back(static_cast<Index>(blocks.size()));
            append_blocks(blocks, rows, first, last, reverse);
            first = last;
        }
        first_block.push_back(static_cast<Index>(blocks.size()));
    }

    void fill() {
        Index size = 0;
        for (const Block& block : blocks) size += table_size(block);
        tables.resize(size);
        Index* table = tables.data();
        for (Block& block : blocks) {
            fill_tables(block, table);
            table += table_size(block);
        }
        for (std::size_t q = 0; q + 1 < first_block.size(); ++q) {
            Task task{blocks.data() + first_block[q], blocks.data() + first_block[q + 1], 0, 0, 0};
            for (const Block* block = task.begin; block != task.end; ++block) {
                task.block_rows = std::max(task.block_rows, block->rows);
                task.chunk_rows = std::max(task.chunk_rows, block->chunk_rows);
                task.packed_rows = std::max(task.packed_rows, block->start[block->steps + 1]);
            }
            tasks.push_back(task);
        }
    }
};

Plan::Plan(const Extent& extent, int threads, Index work_per_row) : storage_(new Storage) {
    storage_->rows.cut(extent);
    const Index B = storage_->rows.count(), total = storage_->rows.steps();
    const Index worth = 1 + total * work_per_row / work_per_thread;
    this->threads = static_cast<int>(std::min<Index>({threads, worth, B, 1 + total / thread_rows}));
    count = number_of_tasks(this->threads, B, work_per_row);
    storage_->cut(count, total, extent.reverse);
    storage_->fill();
    tasks = storage_->tasks.data();
}

Plan::~Plan() { delete storage_; }

}  // namespace throughtime
