"""L1 (TCDM) as a circuit: banks, and the interconnect through which engine, cores and DMA reach them."""

from .banks import Bank
from .interconnect import Interconnect
from .ports import ClientPorts
from .top import EngineTcdm, Tcdm

__all__ = ["Bank", "ClientPorts", "EngineTcdm", "Interconnect", "Tcdm"]
