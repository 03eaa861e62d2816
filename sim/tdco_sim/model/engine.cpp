// The cycle model as a device, and the cycles of a queue of jobs at a memory that never refuses.
#include "device.hpp"
#include "model.hpp"

namespace tdco {
namespace {

struct ModelEngine final : Device {
    model::Model model{true};
    Access access{};
    bool grant = false;

    void reset() override { model = model::Model(true); }

    Request settle(const Access &register_access, bool granted) override
    {
        access = register_access;
        grant = granted;
        event = model.event;
        return model.request();
    }

    void edge(const uint32_t *words) override
    {
        model.step(access, grant, words);
        read_data = model.read_data;
    }
};

// The register accesses of a driver that hands over each job as soon as the queue has room, one a cycle.
struct Submission {
    const uint32_t *words;
    uint32_t jobs, job = 0, step = 0;
    static constexpr uint32_t TRIGGER = TDCO_JOB_WORDS + 1;

    bool triggers() const { return job < jobs && step == TRIGGER; }

    Access access() const
    {
        if (job == jobs)
            return {};
        if (step == 0)
            return {true, false, TDCO_REG_ACQUIRE, 0};
        if (step == TRIGGER)
            return {true, true, TDCO_REG_TRIGGER, 0};
        return {true, true, TDCO_REG_X_ADDR + 4 * (step - 1), words[job * TDCO_JOB_WORDS + step - 1]};
    }

    void next(uint32_t read_data)
    {
        if (job == jobs || (step == 0 && read_data == QUEUE_FULL))
            return;
        job += step == TRIGGER;
        step = step == TRIGGER ? 0 : step + 1;
    }
};

} // namespace

std::unique_ptr<Device> make_device() { return std::make_unique<ModelEngine>(); }

} // namespace tdco

// Cycles from the first TRIGGER to the event of each job.
extern "C" void tdco_model_predict(const uint32_t *words, uint32_t jobs, uint64_t *cycles)
{
    tdco::model::Model model(false);
    tdco::Submission submission{words, jobs};
    uint64_t first_trigger = 0;
    for (uint64_t cycle = 0, ended = 0; ended < jobs; cycle++) {
        if (model.event)
            cycles[ended++] = cycle - first_trigger;
        if (submission.job == 0 && submission.triggers())
            first_trigger = cycle;
        model.step(submission.access(), true, nullptr);
        submission.next(model.read_data);
    }
}
