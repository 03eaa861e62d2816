// The engine cycle by cycle: port, buffers, scheduler and registers as hw/redmule builds them, written in C++.
//
//     model.request(), model.event, model.busy()   what the engine shows in this cycle
//     model.step(access, granted, data)            the clock edge that ends it
#pragma once

#include <bit>
#include <memory>
#include <vector>

#include "datapath.hpp"
#include "request.hpp"
#include "units.hpp"

namespace tdco::model {

constexpr uint8_t ARRAY = NONE, UNITS = 5; // that take jobs: a walker for each Stream, and the array
constexpr uint32_t PLACES = std::bit_ceil(uint32_t(TDCO_QUEUE_JOBS)); // a power of two, so that ids wrap where places do

// Jobs from their commit to their last store, and how far each unit has got (job_queue.py). Ids count modulo 256.
struct JobQueue {
    uint8_t next_id = 0, oldest = 0, at[UNITS] = {};

    uint8_t count() const { return uint8_t(next_id - oldest); }
    bool full() const { return count() >= TDCO_QUEUE_JOBS; }
};

class Model {
  public:
    bool event = false;     // a job ended in the cycle before; its id is event_job
    uint8_t event_job = 0;
    uint32_t read_data = 0; // what the last register read gave

    // Without data it moves none and raises no flag but ILLEGAL: enough to count cycles.
    explicit Model(bool with_data);

    bool busy() const { return queue.count() != 0 || up; }
    bool requests() const { return up; }
    Request request() const;

    // `words`: what a granted read gives, TDCO_PORT_WORDS words.
    void step(const Access &access, bool granted, const uint32_t *words);

  private:
    // A line on its way, and where it goes.
    struct Transfer {
        Stream stream = NONE;
        uint8_t bank = 0;
        Line line{};
    };
    struct Counters {
        uint32_t busy, stall_x, stall_w, stall_yz, stall_port, granted, jobs;
        uint64_t macs;
    };
    struct Units {
        Walker walkers[4];
        LoadBuffer loads[LOADS];
        StoreBuffer store;
        Sequencer sequencer;
    };

    JobQueue queue;
    std::vector<Job> jobs; // by id
    Units units;
    std::unique_ptr<Datapath> data;
    bool up = false, clear_later = false, locked = false;
    Transfer port, waiting, answer; // of the request that is up; of those whose data are one and two cycles old
    uint32_t line_addr = 0, line_count = 0; // of the request that is up, even one nobody waits for any more
    bool line_write = false;
    uint8_t store_bytes[2 * TILE_COLS] = {};
    uint32_t w_ahead = 0; // steps of W under way
    uint32_t job_words[TDCO_JOB_WORDS] = {}, flags = 0;
    Counters counters{};

    const Job &job(uint8_t id) const { return jobs[id % PLACES]; }
    Stream choose() const;
    void count(bool granted, bool done, const Decision &decision);
    void hand_out_jobs();
    void run_array(const Decision &decision);
    void fill_buffers(const Decision &decision);
    void move(bool granted, const uint32_t *words, bool clearing);
    void accept(Stream stream);
    void write(const Access &access);
    uint32_t read(uint32_t offset);
};

} // namespace tdco::model
