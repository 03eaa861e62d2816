"""Programming model of the cluster around the engine: boot, events, DMA, exit. Names and values end up in the C header.

Where GVSoC's pulp-open has the block, offsets and bits are its own (event unit version 4, MCHAN version 7), so that one
ELF runs on both; the DMA between L3 and L2 is ours.
"""

EVENTS: dict[str, int] = {
    "WORK": 0,  # software event to the workers: a kernel call was posted
    "DONE": 1,  # software event to the controller: a kernel call has finished
    "DMA": 8,
    "ENGINE": 12,
    "BARRIER": 16,
    "L3_DMA": 22,
}
"""Bit of each event in a core's event buffer and mask."""

EVENT_UNIT: dict[str, int] = {
    "MASK": 0x00,
    "MASK_AND": 0x04,  # clears the written bits of the mask
    "MASK_OR": 0x08,  # sets them
    "BUFFER": 0x1C,
    "BUFFER_CLEAR": 0x28,
    "WAIT": 0x38,  # a load sleeps until a masked event is pending
    "WAIT_CLEAR": 0x3C,  # the same, and clears the masked events it returns
    "SEND": 0x100,  # + 4 * event: a store sends the software event to the cores in the written mask
    "BARRIER": 0x200,  # + 0x20 * id; the offsets below are relative to it
}

BARRIER: dict[str, int] = {
    "TRIGGER_MASK": 0x00,  # cores that must arrive
    "TARGET_MASK": 0x0C,  # cores that get the event
    "TRIGGER_WAIT_CLEAR": 0x1C,  # a load arrives, sleeps until all have, and clears the event
}
BARRIER_IDS: dict[str, int] = {"WORKERS": 0, "ALL": 1}

DMA: dict[str, int] = {"COMMAND": 0x0, "STATUS": 0x4}
"""COMMAND: a load allocates a transfer's counter; stores push command, L1 address, L2 address and, for 2-D, row bytes
and stride. STATUS: a load gives the busy counters as bits, a store frees the counters written as bits."""

DMA_COMMAND: dict[str, int] = {
    "LENGTH_MASK": 0x1FFFF,  # bytes of the whole transfer
    "TO_L1": 1 << 17,
    "INCREMENT": 1 << 18,
    "2D": 1 << 19,  # on the L2 side; L1 stays dense
    "EVENT": 1 << 20,
}
DMA_COUNTERS = 16

L3_DMA: dict[str, int] = {
    "L2_ADDR": 0x00,
    "L3_ADDR": 0x04,
    "LENGTH": 0x08,  # bytes
    "START": 0x0C,  # a store starts the transfer: 1 L3 to L2, 0 L2 to L3; refused (a fault) while one runs
    "FINISHED": 0x10,  # transfers finished, modulo 2^32
}

SOC_CONTROL: dict[str, int] = {"EXIT": 0xA0}  # a store ends the run: bit 31 set, bits 30:0 the exit code
ICACHE: dict[str, int] = {"ENABLE": 0x0}
STDOUT: dict[str, int] = {"PUTC": 0x0}

CLUSTER_CONSTANTS: dict[str, int] = {
    **{f"EVENT_{name}": value for name, value in EVENTS.items()},
    **{f"EU_{name}": value for name, value in EVENT_UNIT.items()},
    **{f"EU_BARRIER_{name}": value for name, value in BARRIER.items()},
    **{f"BARRIER_{name}": value for name, value in BARRIER_IDS.items()},
    **{f"DMA_{name}": value for name, value in DMA.items()},
    **{f"DMA_COMMAND_{name}": value for name, value in DMA_COMMAND.items()},
    "DMA_COUNTERS": DMA_COUNTERS,
    **{f"L3_DMA_{name}": value for name, value in L3_DMA.items()},
    **{f"SOC_{name}": value for name, value in SOC_CONTROL.items()},
    **{f"ICACHE_{name}": value for name, value in ICACHE.items()},
    **{f"STDOUT_{name}": value for name, value in STDOUT.items()},
}
