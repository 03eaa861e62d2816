"""FST files read back with the library GTKWave reads them with."""

from pathlib import Path
from typing import Any

import pylibfst
from tdco_sim.waves import vcd_to_fst

VCD = """$version by hand $end
$timescale 1ps $end
 $scope module TOP $end
  $var wire 1 ! clk $end
  $var wire 12 # bus [11:0] $end
  $scope module inner $end
   $var wire 1 ! clock $end
   $var wire 40 $ wide [39:0] $end
  $upscope $end
 $upscope $end
$enddefinitions $end

#0
0!
b000000000000 #
b1 $
#5
1!
b101 #
#7
0!
b1000000000000000000000000000000000000001 $
"""


def test_values_survive(tmp_path: Path) -> None:
    (tmp_path / "w.vcd").write_text(VCD)
    vcd_to_fst(tmp_path / "w.vcd", tmp_path / "w.fst")
    lib = pylibfst.lib
    reader: Any = lib.fstReaderOpen(str(tmp_path / "w.fst").encode())
    assert (lib.fstReaderGetTimescale(reader), lib.fstReaderGetEndTime(reader)) == (-12, 7)
    _, signals = pylibfst.get_scopes_signals2(reader)
    handles = {name: signal.handle for name, signal in signals.by_name.items()}
    assert handles.keys() == {"TOP.clk", "TOP.bus [11:0]", "TOP.inner.clock", "TOP.inner.wide [39:0]"}
    assert handles["TOP.clk"] == handles["TOP.inner.clock"]
    buffer = pylibfst.ffi.new("char[256]")

    def value(name: str, time: int) -> str:
        return pylibfst.string(lib.fstReaderGetValueFromHandleAtTime(reader, time, handles[name], buffer))

    lib.fstReaderSetFacProcessMaskAll(reader)
    assert [value("TOP.clk", time) for time in (0, 4, 5, 7)] == ["0", "0", "1", "0"]
    assert [value("TOP.bus [11:0]", time) for time in (0, 6)] == ["0" * 12, "000000000101"]
    assert value("TOP.inner.wide [39:0]", 7) == f"{1 << 39 | 1:040b}"
    lib.fstReaderClose(reader)
