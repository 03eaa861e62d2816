"""The bound on every wait for L1, proved at its real size: whatever order the initiators stand in, whatever they want.

The arbiter is a function, so one cycle is all there is to prove. Assumed of its state: that it is an order, which only
a circle of three could spoil. The bound follows from what is asserted. Of those that want a bank, the first is granted:
whoever is refused gives way to one before it. Who is granted goes behind who is refused, so that one has fewer before
it in the next cycle, and at most `HwConfig.l1_wait_cycles` at first.
"""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from redmule.tcdm.arbiter import ENGINE, Arbiter, before, order_bits
from redmule.tcdm.ports import any_of
from tdco_spec import HwConfig, get_config

from .proof import prove_function

SMALL = HwConfig(name="small", rows=2, cols=2, pipe=0, cores=1, l1_banks=4, dma_bytes_per_cycle=4)


class ArbiterProof(wiring.Component):
    """All inputs of the arbiter are free, but for the order."""

    def __init__(self, cfg: HwConfig) -> None:
        self.hw = cfg
        self.initiators = range(cfg.l1_ports + 1)
        bank_bits = (cfg.l1_banks - 1).bit_length()
        super().__init__(
            {
                "order": In(order_bits(cfg)),
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
        for name in ("order", "client_req", "engine_req", "engine_banks"):
            m.d.comb += getattr(arbiter, name).eq(getattr(self, name))
        asks = [self.engine_req, *self.client_req]
        gets = [arbiter.engine_gnt, *arbiter.client_gnt]
        wants = [Signal(self.hw.l1_banks, name=f"wants_{i}") for i in self.initiators]
        m.d.comb += wants[ENGINE].eq(self.engine_banks)
        m.d.comb += [wants[p + 1].eq(1 << bank) for p, bank in enumerate(self.client_bank)]
        self._check_grants(m, arbiter, asks, gets, wants)
        self._check_order(m, arbiter.next_order, [a & ~g for a, g in zip(asks, gets, strict=True)])
        return m

    def _check_grants(
        self, m: Module, arbiter: Arbiter, asks: list[Value], gets: list[Value], wants: list[Signal]
    ) -> None:
        def meet(i: int, j: int) -> Value:
            if ENGINE in (i, j):
                return (wants[i] & wants[j]).any()
            return self.client_bank[i - 1] == self.client_bank[j - 1]

        for i in self.initiators:
            m.d.comb += Assert(~gets[i] | asks[i])
            # what refuses it goes before it: a client that wants the bank, or the engine that takes it
            blocks = [gets[o] if o == ENGINE else asks[o] for o in self.initiators]
            rivals = [o for o in self.initiators if o != i]
            refuses = any_of(blocks[o] & before(self.order, o, i) & meet(o, i) for o in rivals)
            m.d.comb += Assert(~asks[i] | gets[i] | refuses)
            m.d.comb += [Assert(~(gets[i] & blocks[o] & meet(o, i)) | before(self.order, i, o)) for o in rivals]
        for b in range(self.hw.l1_banks):  # what the bank gets is the request that is granted
            granted = Cat(g & w[b] for g, w in zip(gets[1:], wants[1:], strict=True))
            m.d.comb += Assert((arbiter.first[b] == granted) | (gets[ENGINE] & wants[ENGINE][b]))

    def _check_order(self, m: Module, following: Value, waits: list[Value]) -> None:
        for i, j in permutations(self.initiators, 2):
            now, then = before(self.order, i, j), before(following, i, j)
            m.d.comb += Assert(
                ~waits[i] | (then == (now | ~waits[j]))
            )  # it keeps its place, before all that do not wait
        for i, j in combinations(self.initiators, 2):
            m.d.comb += Assert(waits[i] | waits[j] | before(following, i, j))  # who comes at once goes by number
        for i, j, k in combinations(self.initiators, 3):
            for order, holds in ((self.order, Assume), (following, Assert)):
                one_way = before(order, i, j) & before(order, j, k) & before(order, k, i)
                other_way = before(order, k, j) & before(order, j, i) & before(order, i, k)
                m.d.comb += holds(~one_way & ~other_way)


@pytest.mark.parametrize("cfg", [get_config("rm_12x4"), SMALL], ids=lambda cfg: cfg.name)
def test_whoever_is_refused_comes_closer_to_its_grant(cfg: HwConfig, tmp_path: Path) -> None:
    proof = ArbiterProof(cfg)
    assert prove_function(proof, tmp_path) == ""
    assert cfg.l1_wait_cycles == len(proof.initiators) - 1
