"""The interfaces of the interconnect besides the engine's `MemoryPort`."""

from collections.abc import Iterable

from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig


class ClientPorts(wiring.Signature):
    """The 32-bit initiators of L1 side by side: cores, controller, DMA into L1, DMA out of L1 (`HwConfig.l1_ports`).

    Port ``i`` has bit ``i`` of ``req``, ``gnt`` and ``we``, nibble ``i`` of ``be``, word ``i`` of ``addr`` (bytes; the
    bits above L1's size and the two lowest are ignored), ``wdata`` and ``rdata``. A request stays until ``gnt``, which
    comes in the same cycle at best; ``rdata`` follows one cycle after the grant of a read, for one cycle.
    """

    def __init__(self, ports: int) -> None:
        super().__init__(
            {
                "req": Out(ports),
                "gnt": In(ports),
                "we": Out(ports),
                "be": Out(4 * ports),
                "addr": Out(32 * ports),
                "wdata": Out(32 * ports),
                "rdata": In(32 * ports),
            }
        )


class BankPort(wiring.Signature):
    """A bank, single-ported: reads ``row`` or writes its bytes ``be``; ``rdata`` follows one cycle after a read."""

    def __init__(self, cfg: HwConfig) -> None:
        super().__init__(
            {
                "en": Out(1),
                "we": Out(1),
                "be": Out(4),
                "row": Out(row_bits(cfg)),
                "wdata": Out(32),
                "rdata": In(32),
            }
        )


def bank_words(cfg: HwConfig) -> int:
    """32-bit words of a bank."""
    return -(-cfg.l1_bytes // (4 * cfg.l1_banks))


def row_bits(cfg: HwConfig) -> int:
    """Address bits of a bank."""
    return max(1, (bank_words(cfg) - 1).bit_length())


def any_of(values: Iterable[Value]) -> Value:
    """Bitwise or, as a balanced tree."""
    terms = list(values)
    while len(terms) > 1:
        terms = [a | b for a, b in zip(terms[::2], terms[1::2], strict=False)] + terms[len(terms) & ~1 :]
    return terms[0]
