"""The interconnect between the initiators of L1 and its banks: one cycle from grant to data, no queues."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from ..streamer import MemoryPort
from .arbiter import Arbiter, order_bits
from .ports import BankPort, ClientPorts, any_of, row_bits


class Interconnect(wiring.Component):
    """Word-interleaved: word ``w`` of L1 is row ``w // l1_banks`` of bank ``w % l1_banks``.

    Members:
        engine: the engine's port; its banks may serve it in different cycles, the last of them is that of the grant.
        clients: the 32-bit ports.
        banks: the banks.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        self.bank_bits = (cfg.l1_banks - 1).bit_length()
        super().__init__(
            {
                "engine": In(MemoryPort(cfg.port_words)),
                "clients": In(ClientPorts(cfg.l1_ports)),
                "banks": Out(BankPort(cfg)).array(cfg.l1_banks),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.arbiter = arbiter = Arbiter(cfg)
        order, served = Signal(order_bits(cfg)), Signal(cfg.l1_banks)
        m.d.comb += [arbiter.order.eq(order), arbiter.served.eq(served)]
        m.d.sync += [order.eq(arbiter.next_order), served.eq(arbiter.next_served)]
        engine = self._engine_request(m, arbiter)
        self._client_requests(m, arbiter)
        self._drive_banks(m, arbiter, engine)
        self._answer_engine(m, arbiter)
        self._answer_clients(m)
        return m

    def _bank_of(self, addr: Value) -> Value:
        return addr[2 : 2 + self.bank_bits]

    def _row_of(self, addr: Value) -> Value:
        return addr[2 + self.bank_bits :][: row_bits(self.cfg)]

    def _engine_request(self, m: Module, arbiter: Arbiter) -> dict[str, Signal]:
        """The engine's words in the order of the banks."""
        cfg, port = self.cfg, self.engine
        banks, words = cfg.l1_banks, cfg.port_words
        # Which words are wanted is known before they are in order: that keeps the path through the grant short.
        wanted = Cat(port.be.word_select(i, 4).any() for i in range(words))
        inputs = {"wanted": (wanted, 1), "be": (port.be, 4), "wdata": (port.wdata, 32)}
        engine = {name: Signal(bits * banks) for name, (_, bits) in inputs.items()}
        engine["beyond"] = Signal(banks)
        with m.Switch(self._bank_of(port.addr)):  # whole lines by case: simulators shift them many times slower
            for first in range(banks):
                with m.Case(first):
                    m.d.comb += engine["beyond"].eq((1 << first) - 1)  # banks that hold words of the next row
                    for name, (value, bits) in inputs.items():
                        before = max(0, first + words - banks)  # words that wrapped to the first banks
                        low, high = value[(words - before) * bits :], value[: (words - before) * bits]
                        pad = Signal((first - before) * bits, name=f"pad_{name}_{first}")
                        m.d.comb += engine[name].eq(Cat(low, pad, high))
        m.d.comb += [
            arbiter.engine_req.eq(port.req),
            arbiter.engine_banks.eq(engine["wanted"]),
            port.gnt.eq(arbiter.engine_gnt),
        ]
        return engine

    def _client_requests(self, m: Module, arbiter: Arbiter) -> None:
        cfg, clients = self.cfg, self.clients
        for p in range(cfg.l1_ports):
            m.d.comb += arbiter.client_bank[p].eq(self._bank_of(clients.addr.word_select(p, 32)))
        m.d.comb += [arbiter.client_req.eq(clients.req), clients.gnt.eq(arbiter.client_gnt)]

    def _drive_banks(self, m: Module, arbiter: Arbiter, engine: dict[str, Signal]) -> None:
        cfg, clients, port = self.cfg, self.clients, self.engine
        payloads = []
        for p in range(cfg.l1_ports):
            payload = Signal(32 + 4 + 1 + row_bits(cfg), name=f"client_{p}_payload")
            word = clients.wdata.word_select(p, 32)
            row = self._row_of(clients.addr.word_select(p, 32))
            m.d.comb += payload.eq(Cat(word, clients.be.word_select(p, 4), clients.we[p], row))
            payloads.append(payload)
        row = self._row_of(port.addr)
        next_row = Signal(row_bits(cfg))
        m.d.comb += next_row.eq(row + 1)
        for b in range(cfg.l1_banks):
            bank, first = self.banks[b], arbiter.first[b]
            chosen = Signal(len(payloads[0]), name=f"bank_{b}_client")
            with m.If(first.any()):
                m.d.comb += chosen.eq(any_of(p & f.replicate(len(p)) for p, f in zip(payloads, first, strict=True)))
            taken = arbiter.engine_serving[b]
            word, be = engine["wdata"].word_select(b, 32), engine["be"].word_select(b, 4)
            payload = Cat(word, be, port.we, Mux(engine["beyond"][b], next_row, row))
            m.d.comb += [
                bank.en.eq(taken | first.any()),
                Cat(bank.wdata, bank.be, bank.we, bank.row).eq(Mux(taken, payload, chosen)),
            ]

    def _answer_engine(self, m: Module, arbiter: Arbiter) -> None:
        """The words of a line, of which some were served before the last."""
        banks, words = self.cfg.l1_banks, self.cfg.port_words
        first = Signal(self.bank_bits)
        with m.If(self.engine.req & self.engine.gnt):
            m.d.sync += first.eq(self._bank_of(self.engine.addr))
        reads = Signal(banks, name="engine_reads")
        m.d.sync += reads.eq(arbiter.engine_serving)
        data = []
        for b, bank in enumerate(self.banks):
            held = Signal(32, name=f"held_{b}")
            with m.If(reads[b]):
                m.d.sync += held.eq(bank.rdata)
            data.append(Mux(reads[b], bank.rdata, held))
        with m.Switch(first):
            for f in range(banks):
                with m.Case(f):
                    m.d.comb += self.engine.rdata.eq(Cat(data[(f + i) % banks] for i in range(words)))

    def _answer_clients(self, m: Module) -> None:
        words = Array(bank.rdata for bank in self.banks)
        clients = self.clients
        for p in range(self.cfg.l1_ports):
            bank = Signal(self.bank_bits, name=f"client_{p}_bank")
            reads = Signal(name=f"client_{p}_reads")
            m.d.sync += reads.eq(clients.gnt[p] & ~clients.we[p])
            with m.If(clients.gnt[p]):
                m.d.sync += bank.eq(self._bank_of(clients.addr.word_select(p, 32)))
            with m.If(reads):
                m.d.comb += clients.rdata.word_select(p, 32).eq(words[bank])
