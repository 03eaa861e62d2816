"""The host platform: a compiled program, built for this machine and run step by step with an engine behind it."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tdco_spec import HwConfig
from tdco_spec.emit import c_header

from .build import cached, compile_objects, linker, run_tool, sw_dir
from .errors import SimError
from .result import RunResult
from .tensors import as_stored, count_steps, description, memory_images, read_state, split_outputs

FLAGS = ("-O2", "-g", "-march=native", "-ffp-contract=off", "-fno-fast-math", "-Wall", "-Wextra")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
SANITIZER_ENV = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
PROGRAM = "program.c"
OPTIONS = ("l2-in", "l3-in", "inputs", "outputs", "l2-out", "l3-out", "stats")
"""Of the host program, that name files."""


def build(out_dir: Path, cfg: HwConfig, sanitize: bool = False) -> Path:
    """The executable of OUT/program.c with kernels, runtime and host port; ``sanitize``: under ASan and UBSan.

    Raises:
        SimError: if something does not compile; the compiler's message is in it.
    """
    sw, here = sw_dir(), Path(__file__).parent
    port = sw / "port" / "host"
    flags = (*FLAGS, *(SANITIZE if sanitize else ()))
    sources = [*sorted((sw / "kernels").glob("*.c")), sw / "runtime" / "run.c", *sorted(port.glob("*.c"))]
    sources.append(port / "engine.cpp")
    includes = [sw / "runtime", sw / "kernels", port, here]
    headers = {"tdco_hw.h": c_header(cfg)}
    objects = compile_objects("host", sources, flags, includes, headers)
    program = out_dir / PROGRAM
    if not program.exists():
        raise SimError(f"there is no {PROGRAM}", str(out_dir), "run `tdco compile MODEL ... -o OUT` first")
    tables = compile_objects("program", [program], flags, [out_dir, sw / "runtime"], {})

    def make(directory: Path) -> None:
        link = SANITIZE if sanitize else ()
        run_tool([linker(), *link, *tables, *objects, "-ldl", "-o", directory / "step"], str(program))

    return cached("step", ["link", *flags, *map(str, [*tables, *objects])], make) / "step"


def run(
    out_dir: Path,
    engine: Path,
    check: Path | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    state: Mapping[str, np.ndarray] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    sanitize: bool = False,
    record: Sequence[str] = (),
) -> RunResult:
    """Runs the program in ``out_dir`` once per entry of ``inputs`` [steps, ...], once if it has none.

    ``engine`` and ``check`` are shared libraries that export engine.h; with ``check``, L1 is compared after every job.
    ``state`` replaces initial state by name; ``record`` names state to add to the outputs, as each step left it.
    ``on_progress`` is called with (done, total) in commands.

    Raises:
        SimError: if an input does not fit the program, or the run fails; what failed is in it.
    """
    document = description(out_dir)
    program = build(out_dir, HwConfig(**document["hw"]), sanitize)
    inputs = inputs or {}
    steps = count_steps(document, inputs)
    images = memory_images(out_dir, document, state)
    feed = [as_stored(spec, inputs[spec["name"]], (steps,)).reshape(steps, -1) for spec in document["inputs"]]

    with tempfile.TemporaryDirectory(prefix="tdco-") as scratch:
        files = {n: Path(scratch) / n for n in OPTIONS}
        for level, image in images.items():
            files[f"{level}-in"].write_bytes(image)
        bytes_per_step = (
            np.concatenate([a.view(np.uint8) for a in feed], axis=1) if feed else np.empty((steps, 0), np.uint8)
        )
        files["inputs"].write_bytes(bytes_per_step.tobytes())
        command = [str(program), "--engine", str(engine), "--steps", str(steps), "--progress"]
        command += ["--check", str(check)] if check else []
        command += [text for name, path in files.items() for text in (f"--{name}", str(path))]
        recorded = [*document["outputs"], *(spec for spec in document["state"] if spec["name"] in record)]
        for option, specs in (("--in", document["inputs"]), ("--out", recorded)):
            command += [text for spec in specs for text in (option, f"{spec['addr']}:{spec['bytes']}")]
        _execute(command, str(out_dir), on_progress)
        outputs = np.frombuffer(files["outputs"].read_bytes(), np.uint8).reshape(steps, -1)
        stats = json.loads(files["stats"].read_text())
        final_state = read_state(out_dir, {level: files[f"{level}-out"].read_bytes() for level in images})
    return RunResult(split_outputs(recorded, outputs), final_state, stats)


def _execute(command: list[str], where: str, on_progress: Callable[[int, int], None] | None) -> None:
    """Runs the host program; its stdout is progress, its stderr what went wrong."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **SANITIZER_ENV}
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            if on_progress:
                done, total = map(int, line.split())
                on_progress(done, total)
        code = process.wait()
        errors.seek(0)
        if code != 0:
            said = "\n".join(errors.read().strip().splitlines()[:40])
            raise SimError(said or f"the host program ended with status {code}", where)
