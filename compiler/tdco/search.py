"""Which order of units is best: several ways to choose among them are tried, and judged by what a step takes then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from .cost import Costs
from .errors import TdcoError
from .schedule import ENGINE, RESULTS, NoRoom, Order, Planned, Scheduler, look_at
from .units import Block, Unit

ORDERS = (Order(24), Order(96, ENGINE), Order(12), Order(4, ENGINE), Order(24, RESULTS))
NARROW_ORDERS = (Order(2), Order(1), Order(0))
"""Where the blocks in use do not fit L1 otherwise: the first that does."""
SLACKS = ((2000, 0.3), (4000, 0.3))
LOOSER_ORDERS = 3
"""The fastest orders, so many, are tried again with each of these."""
HARDLY_SLOWER, BYTES_FOR_CYCLES = 1.01, 3
"""Of orders that take at most so many times the cycles of the fastest, another is chosen for its memory, if it takes so
many percent less of that for a percent of the cycles."""


def schedule_units(
    blocks: Mapping[str, Block],
    units: Sequence[Unit],
    costs: Costs,
    stay: Collection[str],
    judge: Callable[[Planned], tuple[int, int]],
) -> Planned:
    """The best order found. Storages in ``stay`` are read after the step, so what is written to them goes to L2.
    ``judge`` gives the cycles and the bytes that an order takes; few bytes count where cycles hardly differ.

    Raises:
        TdcoError: a node's blocks do not fit L1.
    """
    found: dict[Order, Planned] = {}
    prices: dict[Order, float] = {}
    step = look_at(blocks, units, costs, stay)

    def look(order: Order) -> None:
        planned = Scheduler(step, costs, order).run()
        cycles, taken_bytes = judge(planned)
        found[order] = replace(planned, cycles=cycles)
        prices[order] = cycles * max(1, taken_bytes) ** (1 / BYTES_FOR_CYCLES)

    for order in (*ORDERS, *NARROW_ORDERS):
        if found and order in NARROW_ORDERS:
            break
        try:
            look(order)
        except NoRoom as e:
            failure = e
    if not found:
        raise TdcoError(str(failure), "L1", "a configuration with more l1_bytes")
    different = {planned.cycles: order for order, planned in reversed(found.items())}  # equal cycles: the same order
    for order in [order for _, order in sorted(different.items()) if order.ahead][:LOOSER_ORDERS]:
        for slack in SLACKS:
            with suppress(NoRoom):
                look(order._replace(slack=slack))
    tried = [(str(order), planned.cycles) for order, planned in found.items()]
    enough = HARDLY_SLOWER * min(planned.cycles for planned in found.values())
    quick = [order for order, planned in found.items() if planned.cycles <= enough]
    return replace(found[min(quick, key=lambda order: prices[order])], tried=tuple(tried))
