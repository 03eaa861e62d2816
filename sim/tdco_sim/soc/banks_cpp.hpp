// Banks whose bytes lie in a Memory; who goes first is up to what is derived from it.
#ifndef TDCO_SOC_BANKS_CPP_HPP
#define TDCO_SOC_BANKS_CPP_HPP

#include "memory.hpp"

namespace soc {

constexpr uint32_t bank_of(uint32_t addr) { return addr / 4 % TDCO_L1_BANKS; }

constexpr uint32_t byte_mask(uint32_t be)
{
    return (be & 1 ? 0xFFu : 0) | (be & 2 ? 0xFF00u : 0) | (be & 4 ? 0xFF0000u : 0) | (be & 8 ? 0xFF000000u : 0);
}

struct BanksCpp : Banks {
    Memory &memory;

    explicit BanksCpp(Memory &l1) : memory(l1) {}

    void load(uint32_t offset, uint8_t *data, uint32_t bytes) override
    {
        std::memcpy(data, &memory.bytes[offset], bytes);
    }
    void store(uint32_t offset, const uint8_t *data, uint32_t bytes) override
    {
        std::memcpy(&memory.bytes[offset], data, bytes);
    }

    void access(bool we, uint32_t addr, uint8_t be, uint32_t wdata, uint32_t &rdata)
    {
        uint8_t *const at = &memory.bytes[(addr - memory.base) % TDCO_L1_SIZE & ~3u];
        uint32_t word;
        std::memcpy(&word, at, 4);
        if (we) {
            const uint32_t mask = byte_mask(be);
            word = (word & ~mask) | (wdata & mask);
            std::memcpy(at, &word, 4);
        } else {
            rdata = word;
        }
    }
};

} // namespace soc
#endif
