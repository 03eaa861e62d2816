"""L1 as one block, and the engine with it."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from tdco_spec import HwConfig

from ..job import JOB_ID_BITS
from ..registers import RegisterPort
from ..streamer import MemoryPort
from ..top import Engine
from .banks import BANK_MODULE
from .interconnect import Interconnect
from .ports import ClientPorts


class Tcdm(wiring.Component):
    """Interconnect and banks. The banks are instances of one Verilog module, ``BANK_MODULE``.

    Members:
        engine, clients: as `Interconnect` has them.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        super().__init__({"engine": In(MemoryPort(cfg.port_words)), "clients": In(ClientPorts(cfg.l1_ports))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.interconnect = interconnect = Interconnect(self.cfg)
        connect(m, flipped(self.engine), interconnect.engine)
        connect(m, flipped(self.clients), interconnect.clients)
        for b, bank in enumerate(interconnect.banks):
            inputs = {f"i_{name}": getattr(bank, name) for name in ("en", "we", "be", "row", "wdata")}
            m.submodules[f"bank_{b}"] = Instance(
                BANK_MODULE, i_clk=ClockSignal(), i_rst=ResetSignal(), **inputs, o_rdata=bank.rdata
            )
        return m


class EngineTcdm(wiring.Component):
    """The engine on L1: what a cluster instantiates beside its cores and its DMA.

    Members:
        cfg, evt, evt_job, busy: as `Engine` has them. clients: as `Interconnect` has them.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.hw = cfg
        super().__init__(
            {
                "cfg": In(RegisterPort()),
                "clients": In(ClientPorts(cfg.l1_ports)),
                "evt": Out(1),
                "evt_job": Out(JOB_ID_BITS),
                "busy": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = Engine(self.hw)
        m.submodules.tcdm = tcdm = Tcdm(self.hw)
        connect(m, flipped(self.cfg), engine.cfg)
        connect(m, engine.tcdm, tcdm.engine)
        connect(m, flipped(self.clients), tcdm.clients)
        m.d.comb += [self.evt.eq(engine.evt), self.evt_job.eq(engine.evt_job), self.busy.eq(engine.busy)]
        return m
