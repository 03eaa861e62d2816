// The engine's units that move no data, each a mirror of the circuit of the same name in hw/redmule: registers as
// fields, what they drive within a cycle as functions, and the clock edge as the function that changes fields.
#pragma once

#include <algorithm>
#include <cstdint>

#include "job.hpp"

namespace tdco::model {

constexpr uint32_t ROWS = TDCO_ROWS, COLS = TDCO_COLS, TILE_COLS = TDCO_TILE_COLS, SLOT_CYCLES = TDCO_PIPE + 1;
constexpr uint32_t BANKS = 2; // of every buffer

enum Stream : uint8_t { X, W, Y, Z, NONE };
constexpr uint32_t LOADS = 3;

// One dimension of a matrix, walked tile by tile over and over.
struct Dimension {
    uint32_t tile = 1, size = 1, left = 1;

    bool last() const { return left <= tile; }
    uint32_t length() const { return std::min(left, tile); }
    void next() { left = last() ? size : left - tile; }
};

struct Line {
    uint32_t addr;
    uint16_t count, index;
    bool inner_lines, broadcast, last_of_block, last_of_job;
};

// Walks the lines of one operand of one job after the other (walker.py, where the words are explained).
struct Walker {
    bool busy = false;
    Line line{}; // the next one, while busy

    void take(Stream operand, const Job &job)
    {
        const Dimension m{ROWS, job.m, job.m}, n{TILE_COLS, job.n, job.n}, k{TILE_COLS, job.k, job.k}, none;
        const Operand &o = operand == X ? job.x : operand == W ? job.w : operand == Y ? job.y : job.z;
        outer = operand == W ? n : m;
        inner = operand == X || operand == W ? k : n;
        again = operand == X ? n : none;
        around = operand == W ? m : none;
        const bool transposed = job.has(operand == X ? TDCO_JOB_TRANS_X : operand == W ? TDCO_JOB_TRANS_W : TDCO_JOB_TRANS_Z);
        line.inner_lines = transposed != (operand == W);
        line.broadcast = operand == Y && job.has(TDCO_JOB_Y_COLUMN);
        line.addr = block_addr = outer_addr = base = uint32_t(o.addr);
        stride = uint32_t(o.row_step);
        line.index = 0;
        first_inner = busy = true;
        describe();
    }

    void advance()
    {
        const uint32_t line_after = line.addr + stride;
        if (!line.last_of_block) {
            line.index++;
            line.addr = line_after;
            return describe();
        }
        const uint32_t inner_after = line.inner_lines ? line_after : block_addr + along(inner);
        // Across the lines: where the first block of this round ended.
        outer_next = first_inner ? line_after : outer_next;
        const uint32_t outer_after = line.inner_lines ? outer_addr + along(outer) : outer_next;
        line.index = 0;
        first_inner = inner.last();
        if (!inner.last()) {
            line.addr = block_addr = inner_after;
        } else {
            const bool once_more = !again.last(), outer_end = outer.last();
            line.addr = block_addr = outer_addr = once_more ? outer_addr : outer_end ? base : outer_after;
            busy = !line.last_of_job;
            again.next();
            if (!once_more) {
                outer.next();
                if (outer_end)
                    around.next();
            }
        }
        inner.next();
        describe();
    }

  private:
    Dimension inner, outer, again, around; // again, around: read anew for each of its tiles, inside or around `outer`
    uint32_t block_addr = 0, outer_addr = 0, outer_next = 0, base = 0, stride = 0;
    bool first_inner = false;

    uint32_t along(const Dimension &d) const { return line.broadcast ? 0 : 2 * d.tile; }

    void describe()
    {
        line.count = uint16_t(line.broadcast ? 1 : (line.inner_lines ? outer : inner).length());
        line.last_of_block = line.index + 1u == (line.inner_lines ? inner : outer).length();
        line.last_of_job = line.last_of_block && inner.last() && again.last() && outer.last() && around.last();
    }
};

// Flow control of a double-buffered operand tile (load_buffer.py).
struct LoadBuffer {
    uint8_t claimed = 0, claim_bank = 0, next_bank = 0;
    struct {
        uint32_t arrived = 0;
        bool complete = false;
    } banks[BANKS];

    bool room() const { return claimed < BANKS; }
    bool urgent() const { return claimed == 0; }
    uint32_t arrived() const { return banks[next_bank].arrived; }
    bool complete() const { return banks[next_bank].complete; }

    void claim()
    {
        claimed++;
        claim_bank ^= 1;
    }
    void free(uint32_t bank)
    {
        claimed--;
        banks[bank] = {};
    }
    void fill(uint32_t bank, uint32_t index, bool last) { banks[bank] = {index + 1, last}; }
};

// Flow control of the result tile (store_buffer.py).
struct StoreBuffer {
    uint8_t claimed = 0, read_bank = 1;
    bool complete[BANKS] = {};

    bool room() const { return claimed < BANKS; }
    bool ready() const { return complete[read_bank]; }

    void free()
    {
        claimed--;
        complete[read_bank] = false;
        read_bank ^= 1;
    }
};

struct Tile {
    uint32_t rows, cols;
    bool relu;
};

// What the sequencer decides in a cycle.
struct Decision {
    bool enable, issue, begin, tile_end, slot, chunk_done, y_take, y_free, z_claim, z_complete;
    bool stall_x, stall_w, stall_yz;
    uint32_t k_index;
    Tile tile;
};

// Array side (sequencer.py): what the array does, slot by slot.
struct Sequencer {
    bool active = false;
    uint32_t macs = 0; // begun in the cycle before
    uint32_t z_bank = 0;
    Tile due_tile{}; // computed last

    void take(const Job &job)
    {
        m = {ROWS, job.m, job.m};
        n = {TILE_COLS, job.n, job.n};
        k = k_size = job.k;
        column = index = 0;
        begun = false;
        active = true;
        has_y = job.has(TDCO_JOB_Y);
        relu = job.has(TDCO_JOB_RELU);
        lines_x = job.has(TDCO_JOB_TRANS_X);
        lines_w = !job.has(TDCO_JOB_TRANS_W);
    }

    Decision decide(const LoadBuffer *loads, const StoreBuffer &store) const
    {
        Decision d{};
        d.k_index = index;
        d.tile = {m.length(), n.length(), relu};
        const bool blocked = z_due && !store.room();
        if (phase == SLOT_CYCLES - 1)
            decide_slot(d, loads, blocked);
        else
            d.enable = true;
        d.y_free = d.enable && streams_y && y_index == TILE_COLS - 1;
        d.z_complete = d.enable && z_busy && z_index + 1 == z_tile.cols;
        return d;
    }

    void edge(const Decision &d)
    {
        const bool boundary = phase == SLOT_CYCLES - 1;
        macs = d.slot ? d.tile.rows * d.tile.cols : 0;
        if (d.enable) {
            if (!boundary)
                phase++;
            else if (d.issue || (active && begun) || z_due || z_busy) // an idle array waits at the boundary
                phase = 0;
            const bool y_end = y_index == TILE_COLS - 1;
            streams_y = d.begin ? d.y_take : streams_y && !y_end;
            y_index = d.begin || y_end ? 0 : y_index + 1;
            collect_z(d);
        }
        if (d.tile_end) {
            z_due = true;
            due_tile = d.tile;
        }
        if (d.issue)
            walk(d);
    }

  private:
    Dimension m, n;
    uint32_t k_size = 0, k = 0, column = 0, index = 0, phase = SLOT_CYCLES - 1, y_index = 0, z_index = 0;
    bool begun = false, has_y = false, relu = false, lines_x = false, lines_w = false;
    Tile z_tile{}; // that leaves the array
    bool streams_y = false, z_due = false, z_busy = false;

    void decide_slot(Decision &d, const LoadBuffer *loads, bool blocked) const
    {
        const bool real = k != 0;
        // A line of the block in the direction of K can be used before the block is complete.
        const bool x_ok = !real || loads[X].complete() || (lines_x && index < loads[X].arrived());
        const bool w_ok = !real || loads[W].complete() || (lines_w && index < loads[W].arrived());
        const bool ready = active && x_ok && w_ok && (begun || !has_y || loads[Y].complete());
        d.issue = ready && !blocked;
        d.enable = !blocked && (ready || !active || !begun);
        d.begin = d.issue && !begun;
        d.tile_end = d.issue && column == COLS - 1 && k <= 1;
        d.slot = d.issue && real;
        d.chunk_done = d.slot && (k == 1 || index == TILE_COLS - 1);
        d.y_take = d.begin && has_y;
        d.z_claim = z_due && !blocked;
        d.stall_x = active && !x_ok;
        d.stall_w = active && x_ok && !w_ok;
        d.stall_yz = active && x_ok && w_ok && !d.issue;
    }

    void collect_z(const Decision &d)
    {
        if (z_busy && ++z_index == TILE_COLS) {
            z_busy = false;
            z_index = 0;
        }
        if (d.z_claim) {
            z_due = false;
            z_busy = true;
            z_index = 0;
            z_tile = due_tile;
            z_bank ^= 1;
        }
    }

    void walk(const Decision &d)
    {
        begun = !d.tile_end;
        column = column == COLS - 1 ? 0 : column + 1;
        if (d.slot) {
            k--;
            index = d.chunk_done ? 0 : index + 1;
        }
        if (!d.tile_end)
            return;
        k = k_size;
        if (n.last()) {
            active = !m.last();
            m.left -= m.length();
        }
        n.next();
    }
};

} // namespace tdco::model
