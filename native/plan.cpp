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

/// Cuts the sorted rows first .. last - 1 into blocks of nearly equal size and appends them.
void append_blocks(std::vector<Block>& blocks, const Index* order, const Index* length, Index first, Index last, bool reverse) {
    const Index pieces = (last - first + block_rows - 1) / block_rows;
    for (Index piece = 0; piece < pieces; ++piece) {
        const Index begin = first + (last - first) * piece / pieces;
        const Index end = first + (last - first) * (piece + 1) / pieces;
        Block block{};
        block.rows = end - begin;
        block.order = order + begin;
        block.length = length + begin;
        block.steps = block.length[0];
        block.reverse = reverse;
        block.in_order = true;
        for (Index i = 1; i < block.rows; ++i) block.in_order &= block.order[i] == block.order[i - 1] + 1;
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
    std::vector<Index> order, length, tables;
    std::vector<Block> blocks;
    std::vector<Index> first_block;  // of each task, and the end
    std::vector<Task> tasks;

    /// Longest rows first; rows of equal length keep their order. Returns the steps of all rows together.
    Index sort_rows(Index T, Index B, const std::int64_t* lengths) {
        order.resize(B);
        length.assign(B, T);
        std::iota(order.begin(), order.end(), Index{0});
        if (!lengths) return T * B;
        std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) { return lengths[i] > lengths[j]; });
        Index total = 0;
        for (Index i = 0; i < B; ++i) total += length[i] = lengths[order[i]];
        return total;
    }

    /// Cuts the rows into `count` tasks of nearly equal numbers of steps, at least one row each.
    void cut(Index count, Index total, bool reverse) {
        const Index B = static_cast<Index>(order.size());
        Index first = 0, passed = 0;
        for (Index task = 0; task < count; ++task) {
            const Index most = B - (count - 1 - task), share = total * (task + 1) / count;
            Index last = first;
            while (last < most && (last == first || task == count - 1 || passed + length[last] / 2 < share))
                passed += length[last++];
            first_block.push_back(static_cast<Index>(blocks.size()));
            append_blocks(blocks, order.data(), length.data(), first, last, reverse);
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

Plan::Plan(Index T, Index B, const std::int64_t* lengths, bool reverse, int threads, Index work_per_row)
    : storage_(new Storage) {
    const Index total = storage_->sort_rows(T, B, lengths);
    const Index worth = 1 + total * work_per_row / work_per_thread;
    this->threads = static_cast<int>(std::min<Index>({threads, worth, B, 1 + total / thread_rows}));
    count = number_of_tasks(this->threads, B, work_per_row);
    storage_->cut(count, total, reverse);
    storage_->fill();
    tasks = storage_->tasks.data();
}

Plan::~Plan() { delete storage_; }

}  // namespace throughtime
