"""Who gets which bank of L1 in a cycle: whoever came first.

All initiators stand in one order. Who is refused keeps its place in it, and who is not goes behind all that are; of
those that come in the same cycle the client of the lower number goes first, and the engine last. A bank serves the
first of those that want it. The engine's line is granted when the last of its banks serves it; a bank that has served
its word of the line is free for others.

So nobody is refused more than ``HwConfig.l1_wait_cycles`` times in a row: with every refusal one of those before it is
served, and does not come before it again.

The arbiter is a function of a state that the interconnect keeps, so that a proof can start from every state.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .ports import any_of


def order_bits(cfg: HwConfig) -> int:
    """Bits of the order, one for each pair of initiators; all are zero at the start. Client ``p`` is initiator ``p``,
    the engine initiator ``l1_ports``."""
    return cfg.l1_ports * (cfg.l1_ports + 1) // 2


def before(order: Value, i: int, j: int) -> Value:
    """Initiator ``i`` goes before ``j``."""
    return ~before(order, j, i) if i < j else order[i * (i - 1) // 2 + j]


class Arbiter(wiring.Component):
    """All grants of a cycle.

    Members:
        client_req, client_bank: the clients' requests, and for which bank.
        engine_req, engine_banks: the engine requests a line in these banks.
        engine_serving: banks that serve their word of it; engine_gnt: and none is left.
        client_gnt: the clients' grants; first: of each bank the client, if any, that gets it unless the engine does.
        order, next_order: of the initiators, now and in the next cycle.
        served, next_served: banks that have served their word of the line that waits.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        clients, banks = cfg.l1_ports, cfg.l1_banks
        super().__init__(
            {
                "client_req": In(clients),
                "client_bank": In((banks - 1).bit_length()).array(clients),
                "engine_req": In(1),
                "engine_banks": In(banks),
                "engine_serving": Out(banks),
                "engine_gnt": Out(1),
                "client_gnt": Out(clients),
                "first": Out(clients).array(banks),
                "order": In(order_bits(cfg)),
                "next_order": Out(order_bits(cfg)),
                "served": In(banks),
                "next_served": Out(banks),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        clients, banks = range(self.cfg.l1_ports), range(self.cfg.l1_banks)
        wants = [Signal(self.cfg.l1_banks, name=f"client_{p}_wants") for p in clients]
        first = [Signal(name=f"client_{p}_first") for p in clients]
        for p in clients:
            m.d.comb += [
                wants[p].eq(self.client_req[p] << self.client_bank[p]),
                first[p].eq(self.client_req[p] & ~any_of(self._gives_way(p, other) for other in clients if other != p)),
                self.client_gnt[p].eq(first[p] & ~(self.engine_serving & wants[p]).any()),
            ]
        m.d.comb += [self.first[b].eq(Cat(f & w[b] for f, w in zip(first, wants, strict=True))) for b in banks]
        # Of clients before the engine: these banks do not serve it.
        closed = any_of(wants[p] & before(self.order, p, len(clients)).replicate(len(banks)) for p in clients)
        wanted = self.engine_banks & ~self.served & self.engine_req.replicate(len(banks))
        m.d.comb += [
            self.engine_serving.eq(wanted & ~closed),
            self.engine_gnt.eq(self.engine_req & ~(wanted & closed).any()),
            self.next_served.eq(Mux(self.engine_req & ~self.engine_gnt, self.served | self.engine_serving, 0)),
        ]
        waits = Cat(self.client_req & ~self.client_gnt, self.engine_req & ~self.engine_gnt)
        pairs = [(i, j) for i in range(1 + len(clients)) for j in range(i)]
        m.d.comb += self.next_order.eq(Cat(waits[i] & (~waits[j] | before(self.order, i, j)) for i, j in pairs))
        return m

    def _gives_way(self, p: int, other: int) -> Value:
        """Client ``other`` goes before ``p`` and wants the same bank."""
        same_bank = self.client_bank[p] == self.client_bank[other]
        return self.client_req[other] & same_bank & before(self.order, other, p)
