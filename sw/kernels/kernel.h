/* What every kernel shares. A kernel is `void tdco_<op>_<format>(const tdco_args *a, uint32_t core, uint32_t cores)`:
 * all cores call it, each does its share, and the bits of the result do not depend on how many cores there are. */
#ifndef TDCO_KERNEL_H
#define TDCO_KERNEL_H

#include "port.h"
#include "tdco.h"

typedef struct {
    uint32_t begin, end;
} tdco_range;

/* The part [begin, end) of `items` pieces of work that falls to `core`. */
static inline tdco_range tdco_share(uint32_t items, uint32_t core, uint32_t cores)
{
    const uint32_t chunk = (items + cores - 1) / cores;
    const uint32_t begin = core * chunk < items ? core * chunk : items;
    return (tdco_range){begin, items - begin < chunk ? items : begin + chunk};
}

#endif
