"""Compiles C and C++ with the system's compiler, once: results live in a cache keyed by all that went into them."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from .errors import SimError

HEADER_SUFFIXES = {".h", ".hpp"}


def cache_dir() -> Path:
    """Where built engines and kernels are kept: $TDCO_CACHE, else tdco under the XDG cache directory."""
    if own := os.environ.get("TDCO_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdco"


def sw_dir() -> Path:
    """The C sources (kernels, runtime, ports): the repository's sw/, or the copy a wheel carries.

    Raises:
        SimError: if neither is there.
    """
    here = Path(__file__).parent
    for place in (here.parents[1] / "sw", here / "_sw"):
        if (place / "runtime" / "tdco.h").exists():
            return place
    raise SimError("the C runtime's sources are missing", str(here / "_sw"), "reinstall tdco")


def cached(name: str, key: Iterable[str], make: Callable[[Path], None]) -> Path:
    """The directory that ``make`` filled for this ``key``; it is called only if there is none yet.

    Safe with several processes: each fills a directory of its own, and the first to finish renames it into place.
    """
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
    final = cache_dir() / f"{name}-{digest}"
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=final.parent))
    try:
        make(scratch)
        scratch.rename(final)
    except OSError:
        if not final.is_dir():  # otherwise another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def run_tool(command: Sequence[str | Path], where: str, hint: str = "", env: Mapping[str, str] | None = None) -> str:
    """Standard output of ``command``.

    Raises:
        SimError: if it cannot be started or fails, with the first lines of what it said.
    """
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=env, check=False)
    except OSError as error:
        raise SimError(f"cannot run {command[0]}: {error.strerror}", where, hint or "install a C compiler") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SimError(f"{Path(str(command[0])).name} failed:\n" + "\n".join(said[:30]), where, hint)
    return done.stdout


def compiler(source: Path) -> str:
    """The command that compiles ``source``: $CXX or g++ for C++, $CC or gcc for C."""
    return linker() if source.suffix == ".cpp" else os.environ.get("CC", "gcc")


def linker() -> str:
    """The command that links: $CXX or g++."""
    return os.environ.get("CXX", "g++")


@cache
def toolchain(command: str, flags: tuple[str, ...]) -> str:
    """What a compiler predefines under ``flags``: its version and, with -march=native, this machine's features."""
    target = [flag for flag in flags if flag.startswith("-m")]
    return run_tool([command, *target, "-dM", "-E", "-x", "c", os.devnull], "C compiler", "install gcc and g++")


def compile_objects(
    name: str, sources: Sequence[Path], flags: Sequence[str], includes: Sequence[Path], headers: Mapping[str, str]
) -> list[Path]:
    """Object files of ``sources``, compiled with ``flags`` and the ``includes`` directories.

    ``headers`` are generated: file name to text.
    """
    commands = sorted({compiler(source) for source in sources})
    files = [*sources, *(f for d in includes for f in sorted(d.iterdir()) if f.suffix in HEADER_SUFFIXES)]
    key = [*flags, *(toolchain(c, tuple(flags)) for c in commands), *(f"{f.name}\n{f.read_text()}" for f in files)]
    key += [f"{header}\n{text}" for header, text in headers.items()]

    def make(directory: Path) -> None:
        for header, text in headers.items():
            (directory / header).write_text(text)
        include_flags = [f"-I{d}" for d in (directory, *includes)]
        for source in sources:
            command: list[str | Path] = [
                compiler(source),
                *flags,
                *include_flags,
                "-c",
                source,
                "-o",
                directory / f"{source.stem}.o",
            ]
            run_tool(command, source.name)

    directory = cached(name, key, make)
    return [directory / f"{source.stem}.o" for source in sources]


def shared_library(
    name: str, sources: Sequence[Path], flags: Sequence[str], includes: Sequence[Path], headers: Mapping[str, str]
) -> Path:
    """A shared library of C++ ``sources``; the arguments are those of :func:`compile_objects`."""
    objects = compile_objects(name, sources, [*flags, "-fPIC"], includes, headers)

    def make(directory: Path) -> None:
        command: list[str | Path] = [linker(), "-shared", *objects, "-o", directory / f"{name}.so"]
        run_tool(command, name)

    return cached(name, ["link", *map(str, objects)], make) / f"{name}.so"
