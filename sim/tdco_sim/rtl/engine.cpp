// The Verilated engine, on a memory its driver plays.
#include "engine.hpp"

namespace tdco {

std::unique_ptr<Device> make_device() { return std::make_unique<VerilatedEngine>(); }

} // namespace tdco
