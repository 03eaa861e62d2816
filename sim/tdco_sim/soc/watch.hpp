// Watches a run: who uses which bytes of L1 and L2 while transfers and jobs are under way, which kernel a core is in,
// and, on request, what happened when.
#ifndef TDCO_SOC_WATCH_HPP
#define TDCO_SOC_WATCH_HPP

#include <deque>

#include "dma.hpp"
#include "job.hpp"

namespace soc {

// How many users read and write each byte of a memory. 16 bits: a program numbers its commands with as many.
struct Uses {
    uint32_t base;
    std::vector<uint16_t> readers, writers;

    Uses(uint32_t base_addr, uint32_t bytes) : base(base_addr), readers(bytes), writers(bytes) {}
    bool holds(uint32_t addr, uint32_t bytes) const
    {
        return addr - base < readers.size() && readers.size() - (addr - base) >= bytes;
    }
    void add(uint32_t addr, uint32_t bytes, bool write, int change);
    void add(const tdco::Job &job, int change);
    // True where an access of [addr, addr + bytes) and a user are not both readers.
    bool conflict(uint32_t addr, uint32_t bytes, bool write) const
    {
        return is_written(addr, bytes) || (write && is_read(addr, bytes));
    }
    bool conflict(const tdco::Job &job, uint32_t &where) const;
    bool is_read(uint32_t addr, uint32_t bytes) const;
    bool is_written(uint32_t addr, uint32_t bytes) const;
};

// The instruction that started a transfer or job.
struct Issuer {
    uint32_t hart, pc;
};

// A kernel call of the program: its entry and the buffers its pointers lie in.
struct KernelCall {
    uint32_t kernel, ranges;
    struct {
        uint32_t addr, bytes, is_new; // is_new: no command before this call uses the buffer
    } range[8];
};

struct Range {
    uint32_t addr, bytes;
    bool holds(uint32_t at) const { return at - addr < bytes; }
};

// A planned buffer of the program, live from command `first` to `last`.
struct Buffer {
    uint32_t addr, bytes, first, last;
};

// Tracks: 0..HARTS-1 kernels on a core (index: call), then sleep of each core (index: the events it woke at), then
// these.
constexpr uint32_t TRACK_SLEEP = HARTS, TRACK_ENGINE = 2 * HARTS, TRACK_TO_L1 = TRACK_ENGINE + 1,
                   TRACK_FROM_L1 = TRACK_ENGINE + 2, TRACK_L3 = TRACK_ENGINE + 3, TRACK_BARRIER = TRACK_ENGINE + 4;

struct TraceEvent {
    uint32_t track, index; // index: the how-manieth of its kind; of a barrier its number
    uint64_t start, end;
    uint32_t refused, fetch; // cycles without a grant of L1; cycles without an instruction
    uint32_t flop, l1_bytes; // of a kernel: floating-point operations, and bytes loaded from and stored to L1
};

// Counts so far of the hart that a trace event is about.
struct Counts {
    uint64_t refused = 0, fetch = 0, flop = 0, l1_bytes = 0;
};

struct Watch {
    std::vector<KernelCall> calls; // empty: kernels are not followed
    std::vector<Buffer> buffers;   // empty: transfers and jobs may go anywhere
    std::vector<Range> read_only;  // code and constants of the program
    Range kernel_data{};           // in the runtime's part of L1: what kernels may load, arguments and constants
    uint32_t command_addr = 0;     // where the controller stores the number of the command it issues; 0: nowhere
    std::vector<TraceEvent> trace;
    bool tracing = false;

    void restart(); // a new step

    void stored(uint32_t addr, uint32_t value) // by a core
    {
        if (addr == command_addr)
            command = value;
    }
    // What a transfer, job or call finds in a buffer it is the first to use counts as never written.
    void transfer_pushed(const Transfer &transfer, Issuer issuer, Memory &l1, Fault &fault);
    void transfer_ended(const Transfer &transfer, uint64_t now);
    void l3_started(const L3Dma &l3_dma, uint64_t now, Fault &fault);
    void l3_ended(const L3Transfer &transfer);
    void engine_written(uint32_t offset, uint32_t value, Issuer issuer, uint64_t now, Memory &l1, Fault &fault);
    void job_ended(uint64_t now, uint64_t refused);
    // The program knows that the first `count` jobs have ended, or that all have whose events were sent.
    void jobs_seen(uint32_t count);
    void jobs_seen() { jobs_seen(jobs_pushed - uint32_t(jobs.size())); }
    void engine_read(uint32_t offset, uint32_t value);
    void jumped(uint32_t hart, uint32_t from_next, uint32_t to, uint64_t now, const Counts &counts, Memory &l1);
    void slept(uint32_t hart, uint32_t events, uint64_t start, uint64_t end);
    void traced(uint32_t track, uint32_t index, uint64_t start, uint64_t end);
    // Says which instruction started the transfer or job that a fault is about.
    void blame(Fault &fault) const;
    // What is wrong with a core's access to L1 or L2; empty: nothing.
    const char *accessed(uint32_t hart, uint32_t addr, uint32_t bytes, bool write) const;

  private:
    struct InFlight {
        tdco::Job job;
        Issuer issuer;
        uint64_t pushed;
        uint32_t number; // since the engine's start or its last SOFT_CLEAR
        bool unordered;  // a later job neither waits for it nor was triggered by who knew it had ended
    };
    struct Position {
        uint32_t call = 0, return_to = 0; // calls finished; inside one unless return_to is 0
        uint64_t entered = 0;
        Counts counts;
    } at[HARTS];
    // What the DMA, the L3 DMA and the engine's jobs use; `unordered`: by jobs that a
    // later one is not ordered behind, ended ones too.
    Uses dma{TDCO_L1_BASE, TDCO_L1_SIZE}, dma_l2{TDCO_L2_BASE, TDCO_L2_SIZE}, l3_l2{TDCO_L2_BASE, TDCO_L2_SIZE};
    Uses engine{TDCO_L1_BASE, TDCO_L1_SIZE}, unordered{TDCO_L1_BASE, TDCO_L1_SIZE};
    std::deque<InFlight> jobs, unseen; // `unseen`: ended, and nobody knows
    std::deque<std::pair<Transfer, Issuer>> transfers;
    uint32_t words[TDCO_JOB_WORDS] = {}, jobs_pushed = 0;
    uint32_t jobs_ended = 0, transfers_ended[2] = {}, l3_begun = 0, calls_entered = 0;
    uint64_t last_job_end = 0, last_transfer_end[2] = {}, refused_before = 0;
    uint32_t command = 0;

    bool is_read_only(uint32_t addr, uint32_t bytes) const;
    const char *kernel_accessed(uint32_t hart, uint32_t addr, uint32_t bytes, bool write) const;
    const Buffer *buffer_of(uint32_t addr, uint32_t bytes) const;
    void forget(const Buffer &buffer, Memory &l1) const;
    void count_transfer(const Transfer &transfer, int change);
    void push_job(const tdco::Job &job, Issuer issuer, uint64_t now, Memory &l1, Fault &fault);
};

} // namespace soc
#endif
