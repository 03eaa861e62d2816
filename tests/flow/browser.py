"""Pages in headless Chromium: for tests, and as a script for pictures: ``browser.py PAGE.html PICTURE.png``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--disable-component-update")  # fmt: skip
READY = "html[data-ready]"
READY_MS = 120_000
PICTURE = {"width": 1120, "height": 1320}
PICTURE_SCALE = 2
"""Pixels of the picture for each of the page's."""
PICTURE_BYTES = 400_000


@dataclass
class Seen:
    """What a page did: errors on its console, and what it fetched beside itself."""

    errors: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)


def find() -> str | None:
    """The Chromium of TDCO_CHROMIUM, else an installed one."""
    return os.environ.get("TDCO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # root has no sandbox
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, width: int, height: int, **options: Any) -> Iterator[tuple[Page, Seen]]:
    """``file`` once its figures are drawn; ``options`` are those of playwright's new_context."""
    seen, address = Seen(), file.absolute().as_uri()
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    page = context.new_page()
    page.on("console", lambda m: seen.errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: seen.errors.append(str(e)))
    page.on("request", lambda r: seen.fetched.append(r.url) if r.url != address else None)
    page.goto(address)
    page.wait_for_selector(READY, timeout=READY_MS)
    yield page, seen
    context.close()


def picture(browser: Browser, file: Path, png: Path) -> None:
    """The top of the page, in 256 colours.

    Raises:
        ValueError: the picture is too large for a repository.
    """
    with opened(browser, file, **PICTURE, device_scale_factor=PICTURE_SCALE) as (page, _):
        page.screenshot(path=png)
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(png, optimize=True)
    if (size := png.stat().st_size) > PICTURE_BYTES:
        raise ValueError(f"{png} has {size} bytes, {PICTURE_BYTES} are allowed")


if __name__ == "__main__":
    with launched() as chromium:
        picture(chromium, *map(Path, sys.argv[1:]))
