"""The cluster simulator: cores, memories, DMA, event unit and engine, cycle by cycle."""
