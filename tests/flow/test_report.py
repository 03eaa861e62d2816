"""The report: its figures are the run's, it fetches nothing, and it works in a browser."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tdco.cli import main
from tdco.ops import all_ops
from tdco.report import load, roofline
from tdco.report.load import Slice, load_step
from tdco_spec import get_config

from . import browser

MODEL = f"{Path(__file__).parent / 'models.py'}:cnn_head"
CFG = get_config("rm_12x4")
SECTIONS = ["timeline", "cycles", "memory", "roofline", "learning", "hardware", "reproduce"]
Json = dict[str, Any]


def invoke(*arguments: str | Path, code: int = 0) -> Json:
    """The JSON object of a command that ends with ``code``."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == code, result.output + str(result.exception)
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled program nobody ran."""
    out = tmp_path_factory.mktemp("report") / "all"
    invoke("compile", MODEL, "-s", "train:*", "-c", "rm_12x4", "-o", out)
    return out


@pytest.fixture(scope="module")
def measured(program: Path) -> tuple[Path, Json]:
    """A report, and what `tdco run` said of the step in it."""
    said = invoke("run", program, "--platform", "soc", "--engine", "model", "--profile")
    write_training(program)
    assert invoke("report", program)["measured"] == []
    return program, said


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "head"
    invoke("compile", MODEL, "-s", "train:fc*", "-c", "rm_12x4", "-o", out)
    return out


def write_training(out: Path) -> None:
    """The log of a training run, as `tdco train` leaves it; the loss of a step is missing."""
    rows = [f"{step},{step},{'' if step == 3 else 3 / step:.9},512,{int(step == 3)}" for step in range(1, 41)]
    (out / "train.csv").write_text("step,samples,loss,loss_scale,skipped\n" + "\n".join(rows) + "\n")
    evaluations = [{"step": step, "samples": 100, "accuracy": step / 50} for step in (0, 20, 40)]
    said = {"evaluations": evaluations, "command": f"tdco train {out} --steps 40", "when": "2026-01-02 03:04+00:00"}
    (out / "train.json").write_text(json.dumps(said))


def unpacked(page: str, name: str) -> str:
    data = re.search(rf'id="{name}">([A-Za-z0-9+/=]+)<', page)
    assert data
    return gzip.decompress(base64.b64decode(data[1])).decode()


def figures(file: Path) -> Json:
    return dict(json.loads(unpacked(file.read_text(), "figures")))


class Tiles(HTMLParser):
    """Values of the tiles, by name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.tile, self.within = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tile = given.get("data-tile") or self.tile
        self.within = given.get("class") == "value" or (tag == "small" and self.within)

    def handle_data(self, data: str) -> None:
        if self.within:
            self.values[self.tile] = self.values.get(self.tile, "") + data

    def handle_endtag(self, tag: str) -> None:
        self.within = self.within and tag != "p"


def test_the_tiles_are_the_runs(measured: tuple[Path, Json]) -> None:
    out, said = measured
    tiles = Tiles((out / "report.html").read_text()).values
    memory = json.loads((out / "program.json").read_text())["memory"]
    assert tiles["cycles"] == f"{said['cycles']:,}"
    assert tiles["updates per second"] == f"{said['updates_per_second']:,.0f}"
    assert tiles["FLOP per cycle"] == f"{said['flop_per_cycle']:.1f}"
    assert tiles["energy"] == f"{said['energy_uj']['total']:.3g} µJ"
    assert tiles["words compared"] == f"{said['words_compared']:,}"
    assert float(tiles["update error"].rstrip("%")) == pytest.approx(100 * said["max_rel_error"], abs=0.005)
    assert tiles["memory"] == f"{memory['total_bytes'] / 1024:,.1f} KB"


def test_the_page_fetches_nothing_and_has_every_section(measured: tuple[Path, Json]) -> None:
    out, said = measured
    page = (out / "report.html").read_text()
    assert "http:" not in page and "https:" not in page
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert not re.search(r'(src|href)="(?!#|data:,)', page)
    assert "url(" not in page and "@import" not in page
    assert "Plotly" in unpacked(page, "plotly")
    assert "<svg" in page and "multiply-adders" in page
    assert said["firmware_sha256"] in page
    assert f"tdco compile {MODEL} --strategy &#x27;train:*&#x27; --hw-config rm_12x4 --out {out}" in page
    assert f"tdco run {out} --platform soc --engine model --profile" in page
    assert f"tdco train {out} --steps 40" in page and "2026-01-02 03:04+00:00" in page


def test_the_figures_are_the_runs(measured: tuple[Path, Json]) -> None:
    out, said = measured
    found, document = figures(out / "report.html"), json.loads((out / "program.json").read_text())
    layers = found["layers"]["data"]
    path = [sum(trace["x"]) for trace in layers if trace["name"] in ("worked", "controller before it")]
    begin = said["cycles"] - sum(n["critical"] + n["waiting"] for n in said["profile"]["nodes"].values())
    assert sum(path) == said["cycles"] - begin
    assert sum(sum(t["x"]) for t in layers if t["name"] == "engine") == said["busy"]["engine"]
    drawn = [t for t in found["timeline"]["data"] if t["name"].startswith("engine")]
    assert sum(sum(t["x"]) for t in drawn) == said["busy"]["engine"]
    kernels = found["kernels"]["data"]
    by_kernel = [sum(parts) for parts in zip(*(t["x"] for t in kernels), strict=True)]
    assert sorted(by_kernel) == sorted(k["cycles"] for k in said["profile"]["kernels"].values())
    stacked = [t["y"] for t in found["memory"]["data"] if t.get("visible", True) and t.get("stackgroup")]
    peak = max(map(sum, zip(*stacked, strict=True)))
    assert peak * 1024 == document["memory"]["dynamic_peak_bytes"]
    names = {life["tensor"] for life in json.loads((out / "memory.json").read_text())}
    texts = [text for trace in found["places"]["data"] for text in trace["text"]]
    assert {text.removeprefix("<b>").partition("</b>")[0] for text in texts} == names


def test_the_roofline_has_every_gemm_and_kernel(measured: tuple[Path, Json]) -> None:
    out, said = measured
    marks = {t["name"]: t for t in figures(out / "report.html")["roofline"]["data"] if t["mode"] == "markers"}
    document = json.loads((out / "program.json").read_text())
    assert marks["whole step"]["y"] == [pytest.approx(said["flop_per_cycle"])]
    gemms = [n for n in said["profile"]["nodes"].values() if n["engine"]]
    assert len(marks["GEMM nodes"]["x"]) == len(gemms)
    points = roofline.gemm_points(load_step(out))
    assert sum(p.flop for p in points) == 2 * document["stats"]["macs"]
    assert sum(p.cycles for p in points) == said["busy"]["engine"]
    assert all(p.rate <= 2 * CFG.fmas and p.rate <= p.intensity * 2 * CFG.tile_cols for p in points)  # under the roof
    kernels = said["profile"]["kernels"]
    assert len(marks["kernels"]["x"]) == sum(k["flop"] > 0 for k in kernels.values())
    trained = sum(document["train"]["trainable"].values())
    updates = [k for name, k in kernels.items() if name.startswith("tdco_sgd")]
    rates = sum(k["calls"] for k in updates) * CFG.cores
    assert (
        0 <= sum(k["flop"] for k in updates) - 2 * trained <= rates
    )  # a multiply-add each, and the rate on every core


def test_the_engine_streams_operands_by_tiles(measured: tuple[Path, Json]) -> None:
    job = Slice("engine", 0, 500, "24x32x8", {"node": "1 Gemm", "M": 24, "N": 32, "K": 8})
    (point,) = roofline.gemm_points(replace(load_step(measured[0]), slices=(job,)))
    assert (point.flop, point.cycles) == (2 * 24 * 32 * 8, 500)
    assert point.bytes == 2 * (24 * 8 * 2 + 8 * 32 * 2 + 24 * 32)  # two tiles of N, two of M


def test_the_training_log_becomes_curves(measured: tuple[Path, Json]) -> None:
    out, _ = measured
    loss, mean, accuracy = figures(out / "report.html")["loss"]["data"]
    steps = [step for step in range(1, 41) if step != 3]
    assert loss["x"] == mean["x"] == steps
    assert loss["y"] == pytest.approx([3 / step for step in steps])
    assert accuracy["y"] == [0, 0.4, 0.8]
    assert "40 steps" in (out / "report.html").read_text()
    assert "1 skipped" in (out / "report.html").read_text()


def test_a_program_without_a_run_is_measured(other: Path) -> None:
    assert invoke("report", other)["measured"] == [str(other)]
    assert invoke("report", other)["measured"] == []
    assert json.loads((other / "run_soc.json").read_text())["mismatches"] == 0
    assert "tdco train" in (other / "report.html").read_text()


def test_of_several_steps_the_last_is_shown(other: Path, tmp_path: Path) -> None:
    out = shutil.copytree(other, tmp_path / "out")
    said = invoke("run", out, "--platform", "soc", "--engine", "model", "--steps", "2")
    invoke("report", out)
    last = json.loads((out / "run_soc.json").read_text())["profile"]["cycles"]
    page, found = (out / "report.html").read_text(), figures(out / "report.html")
    assert last < said["cycles"]
    assert Tiles(page).values["cycles"] == f"{last:,}"
    assert max(b + x for t in found["timeline"]["data"] for b, x in zip(t["base"], t["x"], strict=True)) <= last
    assert found["loss"]["data"][0]["y"] == said["loss"]


def test_several_outs_are_compared(measured: tuple[Path, Json], other: Path, tmp_path: Path) -> None:
    out, said = measured
    result = invoke("report", out, other, "-o", tmp_path / "both.html")
    page, found = (tmp_path / "both.html").read_text(), figures(tmp_path / "both.html")
    assert result["sections"] == ["summary", "cycles", "memory", "energy", "learning", "reproduce"]
    assert result["report"] == str(tmp_path / "both.html")
    assert "train:* / train:fc*" in page
    second = json.loads((other / "run_soc.json").read_text())
    for run in (said, second):
        assert f"<b>{run['cycles']:,}</b>" in page
    shown = [t for t in found["compared-cycles"]["data"] if t.get("visible", True)]
    assert [sum(values) for values in zip(*(t["x"] for t in shown), strict=True)] == [said["cycles"], second["cycles"]]


def test_every_kind_of_update_is_the_last_phase() -> None:
    for name, op in all_ops().items():
        if op.update:
            assert load._phase({"op": name, "name": "fc.weight.master.new"}) == "update", name
    assert load._phase({"op": "All", "name": "loss_scale.ok0.0"}) == "update"
    assert load._phase({"op": "MatMul", "name": "fc.weight.grad"}) == "backward"
    assert load._phase({"op": "Gemm", "name": "logits"}) == "forward"


def test_what_is_missing_is_named(measured: tuple[Path, Json], tmp_path: Path) -> None:
    assert "no compiled program" in invoke("report", tmp_path, code=1)["error"]["what"]
    out = shutil.copytree(measured[0], tmp_path / "out")
    (out / "run_soc.json").write_text("{")
    error = invoke("report", out, code=1)["error"]
    assert error["where"].endswith("run_soc.json")
    assert "tdco run" in error["hint"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    if browser.find() is None:
        why = "no Chromium: install one (Debian: apt install chromium), or name it in TDCO_CHROMIUM"
        if os.environ.get("TDCO_REQUIRE_CHROMIUM"):
            pytest.fail(why)
        pytest.skip(why)
    with browser.launched() as found:
        yield found


@pytest.fixture(scope="module")
def page(chromium: browser.Browser, measured: tuple[Path, Json]) -> Iterator[tuple[Any, browser.Seen]]:
    with browser.opened(chromium, measured[0] / "report.html", 1200, 900) as found:
        yield found


def spot(page: Any, plot: str, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a figure shows ``x`` and ``y``."""
    page.locator(f"#plot-{plot}").scroll_into_view_if_needed()
    script = """([id, x, y]) => {
        const g = document.getElementById(id), a = g._fullLayout, b = g.getBoundingClientRect();
        return [b.x + a.xaxis._offset + a.xaxis.d2p(x), b.y + a.yaxis._offset + a.yaxis.d2p(y)]; }"""
    at = page.evaluate(script, [f"plot-{plot}", x, y])
    return float(at[0]), float(at[1])


def visible_range(page: Any, plot: str) -> tuple[float, float]:
    low, high = page.evaluate(f"document.getElementById('plot-{plot}').layout.xaxis.range")
    return float(low), float(high)


def test_every_figure_is_drawn_without_an_error(page: tuple[Any, browser.Seen], measured: tuple[Path, Json]) -> None:
    drawn = page[0].locator(".plot .main-svg").count()
    assert drawn >= len(figures(measured[0] / "report.html")) == page[0].locator(".plot").count()
    assert page[1] == browser.Seen()


def test_buttons_choose_what_a_figure_shows(page: tuple[Any, browser.Seen]) -> None:
    buttons = page[0].locator('.buttons[data-plot="layers"]')
    shown = "document.getElementById('plot-layers').data.filter(t => t.visible === true).map(t => t.name)"
    buttons.get_by_text("critical path").click()
    page[0].wait_for_function(f"({shown}).length === 2")
    assert page[0].evaluate(shown) == ["worked", "controller before it"]
    assert buttons.get_by_text("busy").get_attribute("aria-pressed") == "false"
    buttons.get_by_text("busy").click()
    page[0].wait_for_function(f"({shown}).length > 2")
    assert page[1] == browser.Seen()


def test_hovering_names_tensors(page: tuple[Any, browser.Seen], measured: tuple[Path, Json]) -> None:
    lives = json.loads((measured[0] / "memory.json").read_text())
    life = max((n for n in lives if n["level"] == "l2" and n["first"] == 0), key=lambda n: n["bytes"])
    cycles = visible_range(page[0], "places")[1]
    x, y = spot(page[0], "places", cycles / 3, (life["offset"] + life["bytes"] / 2) / 1024)
    page[0].mouse.move(x - 2, y)
    page[0].mouse.move(x, y, steps=3)
    page[0].wait_for_selector("#plot-places .hoverlayer .hovertext")
    assert life["tensor"] in page[0].locator("#plot-places .hoverlayer").text_content()
    assert page[1] == browser.Seen()


def test_the_timeline_zooms(page: tuple[Any, browser.Seen]) -> None:
    low, high = visible_range(page[0], "timeline")
    buttons = page[0].locator('.buttons[data-plot="timeline"]')
    buttons.get_by_label("zoom in").click()
    page[0].wait_for_function("document.getElementById('plot-timeline').layout.xaxis.range[0] > 0")
    now = visible_range(page[0], "timeline")
    assert now[1] - now[0] == pytest.approx((high - low) / 2)
    buttons.get_by_text("whole step").click()
    page[0].wait_for_function("document.getElementById('plot-timeline').layout.xaxis.range[0] === 0")
    x, y = spot(page[0], "timeline", (low + high) / 4, 1)
    page[0].mouse.move(x, y)
    page[0].mouse.down()
    page[0].mouse.move(x + 200, y, steps=5)
    page[0].mouse.up()
    page[0].wait_for_function("document.getElementById('plot-timeline').layout.xaxis.range[0] > 0")
    assert visible_range(page[0], "timeline")[0] == pytest.approx((low + high) / 4, rel=0.02)
    assert page[1] == browser.Seen()


def test_a_phone_shows_it_without_scrolling_sideways(chromium: browser.Browser, measured: tuple[Path, Json]) -> None:
    phone = {"has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    with browser.opened(chromium, measured[0] / "report.html", 390, 844, **phone) as (page, seen):
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        widest = page.evaluate("Math.max(...[...document.querySelectorAll('.plot svg')].map(s => s.clientWidth))")
        assert 300 < widest <= 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
        assert seen == browser.Seen()


def test_it_prints(page: tuple[Any, browser.Seen]) -> None:
    pages = page[0].pdf(format="A4")
    assert pages.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pages)) <= 12


def test_a_picture_of_it(chromium: browser.Browser, measured: tuple[Path, Json], tmp_path: Path) -> None:
    browser.picture(chromium, measured[0] / "report.html", tmp_path / "report.png")
    with browser.Image.open(tmp_path / "report.png") as image:
        assert image.size == tuple(browser.PICTURE_SCALE * browser.PICTURE[side] for side in ("width", "height"))
        colours = image.convert("RGB").getcolors(1 << 20)
    assert colours and len(colours) > 30  # not an empty page
