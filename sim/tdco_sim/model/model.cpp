#include "model.hpp"

#include <utility>

namespace tdco::model {
namespace {

constexpr uint32_t FETCH_CYCLES = 4; // from the choice of a line to its use, at an idle port
constexpr uint32_t SLOTS_PER_FETCH = 1 + (FETCH_CYCLES + SLOT_CYCLES - 1) / SLOT_CYCLES;
constexpr uint32_t NO_JOB[TDCO_JOB_WORDS] = {};

bool is_job_register(uint32_t offset)
{
    return offset - TDCO_REG_X_ADDR < 4 * TDCO_JOB_WORDS;
}

} // namespace

Model::Model(bool with_data)
    : jobs(PLACES, Job(NO_JOB)), data(with_data ? std::make_unique<Datapath>() : nullptr)
{
}

Request Model::request() const
{
    Request r;
    r.valid = up;
    if (!up)
        return r;
    r.write = line_write;
    r.addr = line_addr & ~3u;
    const uint32_t first = line_addr & 2;
    for (uint32_t byte = first; byte < first + 2 * line_count; byte++)
        r.enable[byte / 4] |= uint8_t(1 << byte % 4);
    if (line_write)
        std::memcpy(reinterpret_cast<uint8_t *>(r.data) + first, store_bytes, 2 * line_count);
    return r;
}

void Model::step(const Access &access, bool granted, const uint32_t *words)
{
    // What the cycle decides, from the registers as they are.
    granted = granted && up;
    const bool clear = access.valid && access.write && access.offset == TDCO_REG_SOFT_CLEAR;
    const bool clearing = clear || clear_later;
    const bool trigger = access.valid && access.write && access.offset == TDCO_REG_TRIGGER && !queue.full();
    const Decision decision = units.sequencer.decide(units.loads, units.store);
    const Stream chosen = (!up || granted) && !clearing ? choose() : NONE;
    const bool refused = queue.at[Z] == queue.oldest && queue.count() != 0 && job(queue.oldest).illegal;
    const bool done = refused || (granted && port.stream == Z && port.line.last_of_job);

    // The clock edge.
    if (access.valid && !access.write)
        read_data = read(access.offset);
    count(granted, done, decision);
    hand_out_jobs();
    run_array(decision);
    fill_buffers(decision);
    move(granted, words, clearing);
    if (chosen != NONE)
        accept(chosen);
    event = done && !clear;
    event_job = clear ? 0 : done ? queue.oldest : event_job;
    queue.oldest += done;
    if (access.valid && access.write)
        write(access); // before new flags: one that is raised now stays
    flags |= refused ? TDCO_FLAG_ILLEGAL : 0;
    if (data)
        flags |= std::exchange(data->flags, 0);
    if (trigger)
        jobs[queue.next_id++ % PLACES] = Job(job_words);
    if (clear)
        queue = {};
    if (clear_later)
        units = {};
    if (clearing) {
        counters = {};
        flags = w_ahead = 0;
    }
    clear_later = clear;
}

// What the array waits for first, then stores, then prefetches.
Stream Model::choose() const
{
    bool can[4];
    for (Stream s : {X, W, Y, Z})
        can[s] = units.walkers[s].busy && (s == Z ? units.store.ready() : units.loads[s].room());
    if (can[W] && w_ahead < SLOTS_PER_FETCH)
        return W;
    for (Stream s : {X, Y})
        if (can[s] && units.loads[s].urgent())
            return s;
    for (Stream s : {Z, X, Y, W})
        if (can[s])
            return s;
    return NONE;
}

void Model::count(bool granted, bool done, const Decision &decision)
{
    counters.busy += queue.count() != 0 || event;
    counters.stall_x += decision.stall_x;
    counters.stall_w += decision.stall_w;
    counters.stall_yz += decision.stall_yz;
    counters.stall_port += up && !granted;
    counters.granted += granted;
    counters.jobs += done;
    counters.macs += units.sequencer.macs;
}

void Model::hand_out_jobs()
{
    for (uint8_t unit = 0; unit < UNITS; unit++) {
        const uint8_t id = queue.at[unit];
        if (id == queue.next_id)
            continue;
        const Job &next = job(id);
        const bool skip = unit == Z ? next.illegal && id == queue.oldest
                                    : next.illegal || (unit == Y && !next.has(TDCO_JOB_Y));
        const bool hold = unit < LOADS && next.has(TDCO_JOB_AFTER) && id != queue.oldest;
        const bool idle = unit == ARRAY ? !units.sequencer.active : !units.walkers[unit].busy;
        if (!skip && (next.illegal || hold || !idle))
            continue;
        queue.at[unit]++;
        if (skip)
            continue;
        if (unit == ARRAY)
            units.sequencer.take(next);
        else
            units.walkers[unit].take(Stream(unit), next);
    }
}

void Model::run_array(const Decision &decision)
{
    Sequencer &sequencer = units.sequencer;
    if (data) {
        if (decision.z_claim)
            data->finish(sequencer.due_tile, sequencer.z_bank ^ 1);
        if (decision.begin)
            data->begin(decision.y_take, units.loads[Y].next_bank);
        if (decision.slot)
            data->multiply(decision.tile, units.loads[X].next_bank, units.loads[W].next_bank, decision.k_index);
    }
    units.store.claimed += decision.z_claim;
    if (decision.z_complete)
        units.store.complete[sequencer.z_bank] = true;
    w_ahead -= decision.slot;
    sequencer.edge(decision);
}

// Blocks leave the load buffers, lines come in.
void Model::fill_buffers(const Decision &decision)
{
    for (Stream s : {X, W})
        if (decision.chunk_done) {
            units.loads[s].free(units.loads[s].next_bank);
            units.loads[s].next_bank ^= 1;
        }
    LoadBuffer &y = units.loads[Y]; // streams out after it was taken
    if (decision.y_free)
        y.free(y.next_bank ^ 1);
    y.next_bank ^= decision.y_take;
    if (answer.stream < LOADS)
        units.loads[answer.stream].fill(answer.bank, answer.line.index, answer.line.last_of_block);
}

// The memory answers; requests and answers move on.
void Model::move(bool granted, const uint32_t *words, bool clearing)
{
    answer = clearing ? Transfer() : waiting;
    waiting = granted && !clearing ? port : Transfer();
    if (data && waiting.stream < LOADS)
        data->load(waiting.stream, waiting.bank, waiting.line,
                   reinterpret_cast<const uint8_t *>(words) + (waiting.line.addr & 2));
    if (granted)
        up = false;
    if (!up || clearing)
        port = {};
}

// The next line of a stream becomes the request.
void Model::accept(Stream stream)
{
    Walker &walker = units.walkers[stream];
    const Line line = walker.line;
    port = {stream, stream == Z ? uint8_t(0) : units.loads[stream].claim_bank, line};
    up = true;
    line_addr = line.addr;
    line_count = line.count;
    line_write = stream == Z;
    if (data && stream == Z)
        data->store(units.store.read_bank, line, store_bytes);
    if (stream == W && (line.inner_lines || line.last_of_block))
        w_ahead += line.inner_lines ? 1 : line.count;
    if (line.last_of_block)
        stream == Z ? units.store.free() : units.loads[stream].claim();
    walker.advance();
}

void Model::write(const Access &access)
{
    if (is_job_register(access.offset))
        job_words[(access.offset - TDCO_REG_X_ADDR) / 4] = access.data;
    else if (access.offset == TDCO_REG_FLAGS)
        flags &= ~access.data;
    else if (access.offset == TDCO_REG_TRIGGER || access.offset == TDCO_REG_SOFT_CLEAR)
        locked = false;
}

uint32_t Model::read(uint32_t offset)
{
    if (is_job_register(offset))
        return job_words[(offset - TDCO_REG_X_ADDR) / 4];
    switch (offset) {
    case TDCO_REG_ACQUIRE: {
        const uint32_t value = locked ? LOCKED : queue.full() ? QUEUE_FULL : queue.next_id;
        locked |= !queue.full();
        return value;
    }
    case TDCO_REG_STATUS: return queue.count() | uint32_t(busy()) << 8;
    case TDCO_REG_RUNNING_JOB: return queue.count() ? queue.oldest : event_job;
    case TDCO_REG_ID: return TDCO_CONFIG_HASH;
    case TDCO_REG_FLAGS: return flags;
    case TDCO_REG_CYCLES_BUSY: return counters.busy;
    case TDCO_REG_STALL_X: return counters.stall_x;
    case TDCO_REG_STALL_W: return counters.stall_w;
    case TDCO_REG_STALL_YZ: return counters.stall_yz;
    case TDCO_REG_STALL_PORT: return counters.stall_port;
    case TDCO_REG_GRANTED: return counters.granted;
    case TDCO_REG_FINISHED:
    case TDCO_REG_JOBS: return counters.jobs;
    case TDCO_REG_MACS_LO: return uint32_t(counters.macs);
    case TDCO_REG_MACS_HI: return uint32_t(counters.macs >> 32);
    default: return 0;
    }
}

} // namespace tdco::model
