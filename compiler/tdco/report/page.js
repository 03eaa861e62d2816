"use strict";
(async () => {
  const PRINT_WIDTH = 680; // pixels of a page's text: A4 and Letter less their margins
  const FONT = getComputedStyle(document.body).fontFamily;
  const plots = [...document.querySelectorAll(".plot")];
  const touch = matchMedia("(pointer: coarse)").matches;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  async function unpacked(id) {
    const data = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const axis = {
      gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), tickcolor: colour("line"),
      tickfont: { color: colour("muted"), size: 11.5 }, title: { font: { color: colour("muted"), size: 12 }, standoff: 8 },
    };
    return {
      layout: {
        font: { family: FONT, size: 12, color: colour("text") }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        xaxis: axis, yaxis: axis, legend: { font: { size: 12 } },
        hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("text"), size: 12.5 }, align: "left", namelength: -1 },
      },
    };
  }

  async function draw(figures) {
    const config = { displayModeBar: false, displaylogo: false, responsive: true, doubleClick: "reset" };
    for (const div of plots) {
      const { data, layout } = figures[div.dataset.plot];
      await Plotly.newPlot(div, data, { ...layout, template: theme(), dragmode: touch ? false : "zoom" }, config);
      await new Promise((done) => setTimeout(done)); // the page stays alive between figures
    }
  }

  function choose(button, figures) {
    const group = button.closest(".buttons");
    const [data, layout] = figures[group.dataset.plot].choices[Number(button.dataset.choice)];
    for (const other of group.querySelectorAll("[data-choice]"))
      other.setAttribute("aria-pressed", String(other === button));
    return Plotly.update("plot-" + group.dataset.plot, data, layout);
  }

  function zoom(button, figures) {
    const name = button.closest(".buttons").dataset.plot;
    const [least, most] = figures[name].layout.xaxis.range;
    const [from, to] = document.getElementById("plot-" + name).layout.xaxis.range;
    const span = to - from, middle = (from + to) / 2;
    const [at, half] = {
      all: [(least + most) / 2, (most - least) / 2], in: [middle, span / 4], out: [middle, span],
      left: [middle - span / 2, span / 2], right: [middle + span / 2, span / 2],
    }[button.dataset.zoom];
    const width = Math.min(2 * half, most - least), start = Math.min(Math.max(at - width / 2, least), most - width);
    return Plotly.relayout("plot-" + name, { "xaxis.range": [start, start + width] });
  }

  (0, eval)(await unpacked("plotly"));
  const figures = JSON.parse(await unpacked("figures"));
  const ranges = JSON.parse(JSON.stringify(Object.fromEntries(Object.entries(figures).map(([n, f]) => [n, { layout: { xaxis: f.layout.xaxis } }]))));
  await draw(figures);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.choice) choose(button, figures);
    if (button && button.dataset.zoom) zoom(button, ranges);
  });
  const restyle = (more) => plots.forEach((div) => Plotly.relayout(div, { template: theme(), ...more }));
  dark.addEventListener("change", () => restyle({}));
  addEventListener("beforeprint", () => restyle({ width: PRINT_WIDTH }));
  addEventListener("afterprint", () => restyle({ width: null, autosize: true }));
  document.documentElement.dataset.ready = "true";
})();
