// What our components saw, as lines of a file in the working directory that simulator.py reads:
//     span TRACK INDEX START END REFUSED      (tracks and meanings: soc/watch.hpp; cycles since the simulation began)
//     count NAME VALUE
#pragma once

#include <cstdint>
#include <cstdio>
#include <vector>

namespace report {

struct Span {
    uint32_t track, index;
    int64_t start, end, refused;
};

struct Count {
    const char *name;
    uint64_t value;
};

inline void append(const std::vector<Span> &spans, const std::vector<Count> &counts)
{
    FILE *const file = std::fopen("seen.out", "a");
    if (!file)
        return;
    for (const Span &s : spans)
        std::fprintf(file, "span %u %u %lld %lld %lld\n", s.track, s.index, (long long)s.start, (long long)s.end,
                     (long long)s.refused);
    for (const Count &c : counts)
        std::fprintf(file, "count %s %llu\n", c.name, (unsigned long long)c.value);
    std::fclose(file);
}

} // namespace report
