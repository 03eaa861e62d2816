"""The bound on every wait for L1, proved at its real size: whatever order the initiators stand in, whatever they want.

The arbiter is a function, so one cycle is all there is to prove. Assumed of its state: that it is an order, which only
a circle of three could spoil. The bound follows from what is asserted. A bank serves the first of those that want it:
who is not served there gives way to one before it, and so on to one that is served. That one goes behind, or is the
engine and does not want this bank again until it does. So with every refusal one fewer goes before the refused at its
banks, and there are at most `HwConfig.l1_wait_cycles` at first.
"""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from redmule.tcdm.arbiter import Arbiter, before, order_bits
from redmule.tcdm.ports import any_of
from tdco_spec import HwConfig, get_config

from .proof import prove_function

SMALL = HwConfig(name="small", rows=2, cols=2, pipe=0, cores=1, l1_banks=4, dma_bytes_per_cycle=4)


class ArbiterProof(wiring.Component):
    """All inputs of the arbiter are free, but for the order."""

    def __init__(self, cfg: HwConfig) -> None:
        self.hw = cfg
        self.clients = range(cfg.l1_ports)
        bank_bits = (cfg.l1_banks - 1).bit_length()
        super().__init__(
            {
                "order": In(order_bits(cfg)),
                "served": In(cfg.l1_banks),
                "client_req": In(cfg.l1_ports),
                "client_bank": In(bank_bits).array(cfg.l1_ports),
                "engine_req": In(1),
                "engine_banks": In(cfg.l1_banks),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.arbiter = arbiter = Arbiter(self.hw)
        m.d.comb += [arbiter.client_bank[p].eq(bank) for p, bank in enumerate(self.client_bank)]
        for name in ("order", "served", "client_req", "engine_req", "engine_banks"):
            m.d.comb += getattr(arbiter, name).eq(getattr(self, name))
        engine_waits = self.engine_req & ~arbiter.engine_gnt
        self._check_clients(m, arbiter)
        self._check_engine(m, arbiter, engine_waits)
        self._check_order(m, arbiter.next_order, [*(self.client_req & ~arbiter.client_gnt), engine_waits])
        return m

    def _check_clients(self, m: Module, arbiter: Arbiter) -> None:
        asks, gets, banks = self.client_req, arbiter.client_gnt, self.client_bank
        for p in self.clients:
            by_engine = arbiter.engine_serving.bit_select(banks[p], 1)
            rivals = [o for o in self.clients if o != p]
            blocked = any_of(asks[o] & before(self.order, o, p) & (banks[o] == banks[p]) for o in rivals) | by_engine
            m.d.comb += Assert(gets[p] == (asks[p] & ~blocked))
            m.d.comb += Assert(~(asks[p] & by_engine) | before(self.order, len(self.clients), p))
        for b, first in enumerate(arbiter.first):  # what reaches the bank is the request that is granted
            granted = Cat(gets[p] & (banks[p] == b) for p in self.clients)
            m.d.comb += Assert((first == granted) | arbiter.engine_serving[b])

    def _check_engine(self, m: Module, arbiter: Arbiter, waits: Value) -> None:
        wants = self.engine_banks & ~self.served & self.engine_req.replicate(self.hw.l1_banks)
        for b in range(self.hw.l1_banks):
            asked = [self.client_req[p] & (self.client_bank[p] == b) for p in self.clients]
            blocked = any_of(a & before(self.order, p, len(self.clients)) for p, a in enumerate(asked))
            m.d.comb += Assert(arbiter.engine_serving[b] == (wants[b] & ~blocked))
        left = wants & ~arbiter.engine_serving
        m.d.comb += Assert(arbiter.engine_gnt == (self.engine_req & (left == 0)))
        m.d.comb += Assert(arbiter.next_served == Mux(waits, self.served | arbiter.engine_serving, 0))

    def _check_order(self, m: Module, following: Value, waits: list[Value]) -> None:
        initiators = range(len(waits))
        for i, j in permutations(initiators, 2):
            now, then = before(self.order, i, j), before(following, i, j)
            m.d.comb += Assert(
                ~waits[i] | (then == (now | ~waits[j]))
            )  # it keeps its place, before all that do not wait
        for i, j in combinations(initiators, 2):
            m.d.comb += Assert(waits[i] | waits[j] | before(following, i, j))  # who comes at once goes by number
        for i, j, k in combinations(initiators, 3):
            for order, holds in ((self.order, Assume), (following, Assert)):
                one_way = before(order, i, j) & before(order, j, k) & before(order, k, i)
                other_way = before(order, k, j) & before(order, j, i) & before(order, i, k)
                m.d.comb += holds(~one_way & ~other_way)


@pytest.mark.parametrize("cfg", [get_config("rm_12x4"), SMALL], ids=lambda cfg: cfg.name)
def test_whoever_is_refused_comes_closer_to_its_grant(cfg: HwConfig, tmp_path: Path) -> None:
    assert prove_function(ArbiterProof(cfg), tmp_path) == ""
