"""The cluster of a tdco configuration as a GVSoC target. GVSoC's own Python runs this file, with GVSoC's packages.

``TDCO_GVSOC_CONFIG`` names the JSON of ``tdco_spec.emit.config_json``. The simulator finds the program, the initial
memories and where to leave the final ones in its working directory, under the names below.
"""

import json
import math
import os
from pathlib import Path

import gvsoc.runner
import gvsoc.systree as st
from cache.hierarchical_cache import Hierarchical_cache
from interco.converter import Converter
from interco.router import Router
from memory.memory import Memory
from pulp.cluster.l1_interleaver import L1_interleaver
from pulp.cpu.iss.pulp_cores import ClusterCore
from pulp.event_unit.event_unit_v3 import Event_unit
from pulp.icache_ctrl.icache_ctrl_v2 import Icache_ctrl
from pulp.mchan.mchan_v7 import Mchan
from utils.loader.loader import ElfLoader
from vp.clock_domain import Clock_domain

FIRMWARE, MEMORY_BEFORE, MEMORY_AFTER = "firmware.elf", "{}.in", "{}.out"

CLUSTER_CYCLES = 2  # of the router between a core and what lies outside its own ports, as in pulp-open
BARRIERS, MUTEXES = 8, 1


class Own(st.Component):
    """One of the components beside this file."""

    def __init__(self, parent, name, model, **properties):
        super().__init__(parent, name)
        self.set_component(f"tdco.{model}")
        self.add_properties(properties)


def log2(value):
    return int(math.log2(value))


def icache(parent, cfg):
    """Private caches, and the shared one in banks."""
    line_bits, ways_bits, banks = log2(cfg["icache_line_bytes"]), 2, cfg["icache_l1_banks"]

    def cache(size_bytes):
        return {
            "nb_sets_bits": log2(size_bytes) - line_bits - ways_bits,
            "nb_ways_bits": ways_bits,
            "line_size_bits": line_bits,
            "refill_latency": cfg["icache_refill_cycles"],
        }

    config = {
        "has_cc": True,
        "nb_cores": cfg["cores"] + 1,
        "nb_l1_banks": banks,
        "l0": cache(cfg["icache_l0_bytes"]),
        "l0_cc": cache(cfg["icache_l0_controller_bytes"]),
        "l1": cache(cfg["icache_l1_bytes"] // banks),
    }
    return Hierarchical_cache(parent, "icache", config)


def event_unit(parent, harts, events):
    properties = {
        "dispatch": {"size": 8},
        "mutex": {"nb_mutexes": MUTEXES},
        "barriers": {"nb_barriers": BARRIERS},
        "semaphores": {"nb_semaphores": 1, "width": 12},
        "bitfields": {"nb_bitfields": 1},
        "soc_event": {"nb_fifo_events": 8, "fifo_event": 27},
        "events": {"barrier": events["BARRIER"], "mutex": 17, "dispatch": 18, "semaphore": 19},
    }
    return Event_unit(parent, "event_unit", {"nb_core": harts, "properties": properties})


class LightRedmuleEngine(st.Component):
    """GVSoC's own light RedMulE in the place of our engine, with an array and a port as wide."""

    def __init__(self, parent, name, spec):
        from pulp.light_redmule.light_redmule import LightRedmule

        super().__init__(parent, name)
        cfg = spec["hw"]
        light = LightRedmule(
            self, "redmule", tcdm_bank_width=4, tcdm_bank_number=cfg["cols"] * (cfg["pipe"] + 1) // 2, elem_size=2,
            ce_height=cfg["cols"], ce_width=cfg["rows"], ce_pipe=cfg["pipe"], queue_depth=1,
            loc_base=spec["memory_map"]["l1"]["base"],
        )  # fmt: skip
        wide = Own(self, "wide", "wide")
        self.bind(self, "input", light, "input")
        self.bind(light, "done_irq", self, "event")
        self.bind(light, "tcdm", wide, "input")
        self.bind(wide, "memory", self, "memory")
        self.bind(self, "left", wide, "left")


class Core(st.Component):
    """A core in a component of its own: GVSoC shares floating-point units among the cores of one parent."""

    def __init__(self, parent, name, core_id):
        super().__init__(parent, name)
        core = ClusterCore(self, "core", cluster_id=0, core_id=core_id, pulpnn=False)
        for port in ("data", "data_debug", "fetch", "irq_ack"):
            self.bind(core, port, self, port)
        for port in ("clock_en", "irq_req", "bootaddr", "fetchen", "flush_cache"):
            self.bind(self, port, core, port)


class Cluster(st.Component):
    """Cores, instruction caches, L1, event unit, DMAs and engine, with L2 and L3."""

    def __init__(self, parent, name, spec):
        super().__init__(parent, name)
        self.cfg, self.regions, self.events = spec["hw"], spec["memory_map"], spec["events"]
        cfg, harts = self.cfg, self.cfg["cores"] + 1
        # first: the light RedMulE's library takes functions from the cores'
        cores = [Core(self, f"pe{i}", i) for i in range(harts)]
        self.caches = icache(self, cfg)
        self.icache_ctrl = Icache_ctrl(self, "icache_ctrl")
        self.units = event_unit(self, harts, self.events)
        self.dma = Mchan(self, "dma", nb_channels=harts + 1)  # the last one belongs to nobody: it has no event
        self.l3_dma = Own(
            self, "l3_dma", "l3_dma",
            startup_cycles=cfg["l3_startup_cycles"], cycles_per_byte=cfg["l3_cycles_per_byte"],
        )  # fmt: skip
        if spec.get("light_redmule"):
            self.engine = LightRedmuleEngine(self, "engine", spec)
        else:
            self.engine = Own(self, "engine", "engine", l1_base=self.regions["l1"]["base"], l1_bytes=cfg["l1_bytes"])
        self.control = Own(
            self, "control", "control",
            **{f"{m}_{key}": self.regions[m][key] for m in ("l1", "l2", "l3") for key in ("base", "size")},
        )  # fmt: skip
        self.watch = Own(self, "watch", "watch")
        self.l1 = self.interleaved_banks(harts)
        self.l2 = Memory(self, "l2", size=cfg["l2_bytes"], stim_file=MEMORY_BEFORE.format("l2"),
                         latency=cfg["l2_latency_cycles"] - CLUSTER_CYCLES - 1)  # fmt: skip
        self.l3 = Memory(self, "l3", size=cfg["l3_bytes"], stim_file=MEMORY_BEFORE.format("l3"))
        self.outside = Router(self, "cluster_ico", latency=CLUSTER_CYCLES)
        self.loader = ElfLoader(self, "loader", binary=FIRMWARE)
        for i, core in enumerate(cores):
            self.bind_core(core, i)
        self.bind_masters(harts)
        self.bind_outside()
        self.bind_loader(harts)

    def bind_core(self, core, i):
        """Its data port with what hangs on it, its fetch port, its events, its start."""
        ports = Router(self, f"pe{i}_ico")
        self.bind(core, "data", ports, "input")
        self.bind(core, "data_debug", ports, "input")
        self.map(ports, "l1", self.watch, f"l1_in_{i}")
        self.map(ports, "event_unit", self.units, f"demux_in_{i}")
        self.map(ports, "dma", self.watch, f"dma_in_{i}")
        self.bind(self.watch, f"dma_out_{i}", self.dma, f"in_{i}")
        ports.add_mapping("outside")
        self.bind(ports, "outside", self.outside, "input")
        self.bind(core, "fetch", self.watch, f"fetch_in_{i}")
        self.bind(self.watch, f"fetch_out_{i}", self.caches, f"input_{i}")
        self.bind(core, "irq_ack", self.units, f"irq_ack_{i}")
        self.bind(self.units, f"clock_{i}", core, "clock_en")
        self.bind(self.units, f"clock_{i}", self.watch, f"clock_{i}")
        self.bind(self.units, f"irq_req_{i}", core, "irq_req")
        self.bind(self.loader, "entry", core, "bootaddr")
        self.bind(self.loader, "start", core, "fetchen")
        self.bind(self.icache_ctrl, "flush", core, "flush_cache")
        for source, port, event in ((self.dma, f"event_itf_{i}", "DMA"), (self.engine, "event", "ENGINE"),
                                    (self.l3_dma, "event", "L3_DMA")):  # fmt: skip
            self.bind(source, port, self.units, f"in_event_{self.events[event]}_pe_{i}")

    def bind_masters(self, harts):
        """What accesses memories besides the cores: the caches, the DMA, the engine."""
        for port in ("enable", "flush", "flush_line", "flush_line_addr"):
            self.bind(self.icache_ctrl, port, self.caches, port)
        self.bind(self.caches, "refill", self.outside, "input")
        for i in range(4):
            self.bind(self.dma, f"loc_itf_{i}", self.watch, f"l1_in_{harts + i}")
        self.bind(self.engine, "memory", self.watch, f"l1_in_{harts + 4}")
        for i in range(harts + 5):
            self.bind(self.watch, f"l1_out_{i}", self.l1, f"in_{i}")
        self.bind(self.dma, "ext_itf", self.watch, "l2_in_0")
        self.bind(self.watch, "l2_out_0", self.outside, "input")

    def bind_outside(self):
        """L2 and the peripherals behind the cluster's router."""
        peripherals = Router(self, "peripherals")
        self.map(self.outside, "l2", self.l2, "input")
        self.outside.add_mapping("peripherals", base=self.regions["engine"]["base"], size=0x1000_0000)
        self.bind(self.outside, "peripherals", peripherals, "input")
        for region, component, port in (
            ("engine", self.engine, "input"),
            ("icache", self.icache_ctrl, "input"),
            ("l3_dma", self.l3_dma, "input"),
            ("soc_control", self.control, "soc_control"),
            ("stdout", self.control, "stdout"),
        ):
            self.map(peripherals, region, component, port)

    def bind_loader(self, harts):
        """The loader, and what takes no time: the copies of the L3 DMA, and what is left at the end."""
        everything = Router(self, "loader_ico")
        words = Converter(self, "l1_words", output_width=4, output_align=4)
        self.bind(self.loader, "start", self.control, "start")
        self.bind(self.loader, "out", everything, "input")
        self.bind(self.control, "memory", everything, "input")
        self.bind(self.l3_dma, "memory", self.watch, "l3_in_0")
        self.bind(self.watch, "l3_out_0", everything, "input")
        for component in (self.engine, self.watch):
            self.bind(self.control, "left", component, "left")
        self.bind(words, "out", self.l1, f"in_{harts + 5}")
        self.map(everything, "l1", words, "input")
        self.map(everything, "l2", self.l2, "input")
        self.map(everything, "l3", self.l3, "input")

    def map(self, router, region, component, port):
        """Sends the addresses of ``region`` from ``router`` to a port of ``component``, as offsets into the region."""
        where = self.regions[region]
        router.add_mapping(region, base=where["base"], size=where["size"], remove_offset=where["base"])
        self.bind(router, region, component, port)

    def interleaved_banks(self, harts):
        """Word-interleaved banks, each one access a cycle; ports: cores, 4 of the DMA, engine, loader."""
        banks = self.cfg["l1_banks"]
        interleaver = L1_interleaver(self, "l1", nb_slaves=banks, nb_masters=harts + 6, interleaving_bits=2)
        for i in range(banks):
            # width_log2: without it a bank has no bandwidth limit at all
            bank = Memory(self, f"bank{i}", size=self.cfg["l1_bytes"] // banks, width_log2=2)
            self.bind(interleaver, f"out_{i}", bank, "input")
        return interleaver


class Soc(st.Component):
    def __init__(self, parent, name, parser, options):
        super().__init__(parent, name, options=options)
        spec = json.loads(Path(os.environ["TDCO_GVSOC_CONFIG"]).read_text())
        clock = Clock_domain(self, "clock", frequency=spec["hw"]["clock_hz"])
        self.bind(clock, "out", Cluster(self, "cluster", spec), "clock")


class Target(gvsoc.runner.Target):
    gapy_description = "tdco's cluster"
    model = Soc
    name = "tdco_soc"

    def __init__(self, parser, options=None, name=None):
        super().__init__(parser, options, model=Soc, name=name)
