// The memory port of the Verilated engine: its signals, whatever types Verilator gave them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "request.hpp"

#define PORT(bundle, signal) top->bundle##___05F##signal

namespace tdco {

// `width` bits from bit `bit` of a port, which Verilator holds in an integer or, if wide, in an array of words.
template <typename T> uint32_t get(const T &port, uint32_t bit, uint32_t width)
{
    const uint32_t mask = width == 32 ? 0xFFFFFFFF : (1u << width) - 1;
    if constexpr (std::is_integral_v<T>)
        return uint32_t(uint64_t(port) >> bit) & mask;
    else
        return port[bit / 32] >> bit % 32 & mask;
}

template <typename T> void set_word(T &port, uint32_t i, uint32_t value)
{
    if constexpr (std::is_integral_v<T>)
        port = T((uint64_t(port) & ~(uint64_t(0xFFFFFFFF) << 32 * i)) | uint64_t(value) << 32 * i);
    else
        port[i] = value;
}

template <typename Top> Request request(const Top &top)
{
    Request r{};
    r.valid = PORT(tcdm, req);
    if (!r.valid)
        return r;
    r.write = PORT(tcdm, we);
    r.addr = PORT(tcdm, addr);
    for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
        r.enable[i] = uint8_t(get(PORT(tcdm, be), 4 * i, 4));
        r.data[i] = r.write ? get(PORT(tcdm, wdata), 32 * i, 32) : 0;
    }
    return r;
}

} // namespace tdco
