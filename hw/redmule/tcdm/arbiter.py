"""Who gets which bank of L1 in a cycle.

The engine goes first, all its banks or none, except that a bank which it took ``tcdm_max_wait_cycles`` times in a row
while a client waited there is closed to it for one cycle. Clients take turns at each bank. Both bounds follow:

- The engine is refused at most once in a row: in a cycle in which it gets nothing, no bank counts on.
- A client is refused at most ``HwConfig.l1_wait_cycles`` times in a row. With ``ahead`` clients before it in the bank's
  order, ``ahead * (max_wait + 1) + max_wait - taken`` falls with every refusal: the engine took the bank and ``taken``
  grows, or a client ahead got it and moves behind.

The arbiters are functions of a state that the interconnect keeps, so that tests can try every state.
"""

from amaranth.hdl import Cat, Module, Mux, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig


def state_layout(cfg: HwConfig) -> StructLayout:
    """State of a bank, all zero at the start.

    later: the clients behind the one that was granted last; they go first. taken: how often in a row the engine took
    the bank while a client waited for it.
    """
    return StructLayout({"later": unsigned(cfg.l1_ports), "taken": unsigned(cfg.tcdm_max_wait_cycles.bit_length())})


class BankArbiter(wiring.Component):
    """The arbiter of one bank.

    Members:
        wanted: clients that request the bank. engine: the engine takes it; never while ``closed``.
        closed: the engine must not take it. first: the client whose turn it is, if any; grant: and who gets it.
        state, next_state: of the bank.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.max_wait = cfg.tcdm_max_wait_cycles
        layout = state_layout(cfg)
        super().__init__(
            {
                "wanted": In(cfg.l1_ports),
                "engine": In(1),
                "closed": Out(1),
                "first": Out(cfg.l1_ports),
                "grant": Out(cfg.l1_ports),
                "state": In(layout),
                "next_state": Out(layout),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        later = self.wanted & self.state.later
        granted = self.wanted.any() & ~self.engine
        m.d.comb += [
            self.closed.eq(self.state.taken == self.max_wait),
            self.first.eq(_lowest(Mux(later.any(), later, self.wanted))),
            self.grant.eq(Mux(self.engine, 0, self.first)),
            self.next_state.later.eq(Mux(granted, ~(self.first | (self.first - 1)), self.state.later)),
            self.next_state.taken.eq(Mux(self.engine & self.wanted.any(), self.state.taken + 1, 0)),
        ]
        return m


class Arbiter(wiring.Component):
    """All banks' arbiters and the engine's grant.

    Members, arrays with an entry a bank:
        wanted, first, grant: clients that request the bank, the one whose turn it is, and the one that gets it.
        engine_req, engine_banks: the engine requests these banks; engine_gnt: and gets them.
        state, next_state: of the banks.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        banks, clients, layout = cfg.l1_banks, cfg.l1_ports, state_layout(cfg)
        super().__init__(
            {
                "wanted": In(clients).array(banks),
                "first": Out(clients).array(banks),
                "grant": Out(clients).array(banks),
                "engine_req": In(1),
                "engine_banks": In(banks),
                "engine_gnt": Out(1),
                "state": In(layout).array(banks),
                "next_state": Out(layout).array(banks),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        closed = []
        for b in range(self.cfg.l1_banks):
            m.submodules[f"bank_{b}"] = bank = BankArbiter(self.cfg)
            m.d.comb += [
                bank.wanted.eq(self.wanted[b]),
                bank.engine.eq(self.engine_gnt & self.engine_banks[b]),
                bank.state.eq(self.state[b]),
                self.first[b].eq(bank.first),
                self.grant[b].eq(bank.grant),
                self.next_state[b].eq(bank.next_state),
            ]
            closed.append(bank.closed)
        # Of the clients it sees registers only: that keeps the path through it short.
        m.d.comb += self.engine_gnt.eq(self.engine_req & ~(self.engine_banks & Cat(closed)).any())
        return m


def _lowest(bits: Value) -> Value:
    """The lowest one of ``bits``, alone."""
    return (bits & -bits)[: len(bits)]
