// What report pages do in a browser: draw panels, sort and filter, follow links into closed sections.
// Without it every table is there and readable.
(() => {
  "use strict";

  const HEIGHT = 210;
  const PRINT_WIDTH = 470; // two charts beside each other on A4 and on Letter, landscape
  const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3]];
  const HUES = 7; // besides the accent
  const root = document.documentElement;
  const panels = [];

  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const format = (value) =>
    value == null ? "-" : value.toLocaleString("en", { maximumSignificantDigits: 4 });

  function make(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // --- lines and their legend: a colour and a dash pattern for each key, the same in every panel

  const hueOf = (key) =>
    key.hue == null ? "--line-reference" : `--line-${key.hue === 0 ? 0 : 1 + ((key.hue - 1) % HUES)}`;
  const dashOf = (key) => (key.hue ? DASHES[key.hue % DASHES.length] : []);

  function swatch(key, shape) {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("class", "swatch");
    svg.setAttribute("viewBox", "0 0 24 8");
    svg.setAttribute("aria-hidden", "true");
    const stroke = document.createElementNS(ns, shape === "area" ? "rect" : "line");
    const dot = shape === "points";
    const place = shape === "area" ? { width: 24, height: 8 } : { x1: dot ? 12 : 0, x2: dot ? 12 : 24, y1: 4, y2: 4 };
    for (const [name, value] of Object.entries(place)) stroke.setAttribute(name, value);
    stroke.style.stroke = shape === "area" ? "none" : `var(${hueOf(key)})`;
    stroke.style.fill = "var(--line-area)";
    if (dot) stroke.style.strokeLinecap = "round";
    stroke.style.strokeWidth = dot ? "6" : shape === "thin" ? "1.2" : key.hue === 0 ? "3" : "2";
    const dash = shape === "reference" ? [1, 3] : shape === "thin" || dot ? [] : dashOf(key);
    if (dash.length) stroke.style.strokeDasharray = dash.join(" ");
    svg.append(stroke);
    return svg;
  }

  function legend(panel) {
    const list = make("ul", { class: "keys", "aria-label": "Lines shown" });
    for (const key of panel.keys.values()) {
      const button = make("button", { type: "button", "aria-pressed": key.shown }, swatch(key, key.shape), key.name);
      button.addEventListener("click", () => {
        key.shown = !key.shown;
        button.setAttribute("aria-pressed", key.shown);
        for (const { plot, lines } of panel.plots)
          lines.forEach((line, i) => line.key === key.name && plot.setSeries(i + 1, { show: key.shown }));
      });
      for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => highlight(panel, key.name));
      for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => highlight(panel, null));
      list.append(make("li", {}, button));
    }
    return list;
  }

  // uPlot's own focus is on one line, and a key may have two in a chart.
  function highlight(panel, name) {
    for (const { plot, lines } of panel.plots) {
      lines.forEach((line, i) => (plot.series[i + 1].alpha = name && line.key !== name ? 0.15 : 1));
      plot.redraw(false);
    }
  }

  // --- one chart

  function seriesOf(line, key) {
    const stroke = () => (line.shape === "area" ? "transparent" : color(hueOf(key)));
    if (line.shape === "points")
      return { show: key.shown, stroke, paths: () => null, points: { show: true, size: 6, fill: stroke } };
    if (line.shape === "edge")
      return { show: key.shown, stroke: "transparent", spanGaps: true, points: { show: false } };
    const reference = line.shape === "reference";
    const alone = line.values.reduce((found, value, i) => {
      if (value != null && line.values[i - 1] == null && line.values[i + 1] == null) found.push(i);
      return found;
    }, []);
    return {
      show: key.shown,
      stroke,
      width: line.shape === "thin" ? 1 : key.hue === 0 ? 2.25 : 1.5,
      dash: reference ? [2, 4] : line.shape === "thin" ? [] : dashOf(key),
      fill: line.shape === "area" ? () => color("--line-area") : undefined,
      paths: line.shape === "step" ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { show: alone.length > 0, filter: () => alone, size: 4, fill: stroke },
    };
  }

  function axisOf(side, size, values) {
    return {
      side,
      size,
      values,
      font: "12px system-ui, sans-serif",
      stroke: () => color("--muted"),
      grid: { stroke: () => color("--rule"), width: 1 },
      ticks: { show: false },
      gap: 6,
    };
  }

  // Decades, with 2 and 5 between them where there are few. Zero has a place when something is zero.
  function logScale(chart) {
    const values = chart.lines.flatMap((line) => line.values).filter((value) => value != null);
    const least = values.reduce((low, value) => Math.min(low, value), Infinity);
    const from = least > 0 ? 10 ** Math.floor(Math.log10(least)) : 0;
    const splits = (_, axis, low, high) => {
      const few = high / (from || 1) < 1000;
      const found = from ? [] : [0];
      for (let decade = from || 1; decade <= high; decade *= 10)
        for (const step of few ? [1, 2, 5] : [1]) if (step * decade >= low && step * decade <= high) found.push(step * decade);
      return found;
    };
    const scale = { distr: from ? 3 : 4, range: (_, low, high) => [from, 1.3 * Math.max(high, from || 1)] };
    return { scale, splits };
  }

  function optionsOf(panel, data, chart, on) {
    const numbers = (_, values) => values.map(format);
    const log = chart.log && logScale(chart);
    return {
      width: 300,
      height: HEIGHT,
      padding: [10, 28, 0, 0],
      legend: { show: false },
      cursor: { y: false, sync: { key: panel.sync.key, setSeries: false }, drag: { x: true, y: false } },
      scales: {
        x: { time: false },
        y: log ? log.scale : { range: (_, low, high) => uPlot.rangeNum(0, high || 1, 0.08, true) },
      },
      axes: [
        { ...axisOf(2, 30, (_, values) => values.map((value) => `${format(value)} ${data.x.unit}`)), space: 76 },
        { ...axisOf(3, 58, numbers), ...(log && { splits: log.splits, filter: (_, values) => values }) },
      ],
      series: [{}, ...chart.lines.map((line) => seriesOf(line, panel.keys.get(line.key)))],
      bands: chart.lines.flatMap(({ shape, key }, i) =>
        shape === "edge" && chart.lines[i + 1]?.shape === "edge" && chart.lines[i + 1].key === key
          ? [{ series: [i + 2, i + 1], fill: () => color("--line-area") }]
          : [],
      ),
      hooks: { setCursor: [on] },
    };
  }

  function drawChart(panel, data, chart) {
    const unit = [chart.unit, chart.log && "log scale"].filter(Boolean).join(", ");
    const name = unit ? `${chart.title} (${unit})` : chart.title;
    const label = `${name} over ${data.x.label}. Arrow keys move the read-out.`;
    const box = make("div", { class: "plot", tabindex: 0, role: "group", "aria-label": label });
    const said = make("p", { class: "hidden", "aria-live": "polite" });
    const tip = make("div", { class: "tip", hidden: "" });
    const caption = make("figcaption", {}, chart.title, make("span", { class: "unit" }, unit));
    const numbers = make("details", { class: "numbers" }, make("summary", {}, "Numbers"));
    panel.grid.append(make("figure", { class: "chart" }, caption, box, said, numbers));

    let active = false;
    const rows = (at) =>
      chart.lines
        .filter((line) => panel.keys.get(line.key).shown)
        .map((line) => [line, line.values[at]])
        .filter(([line, value]) => value != null || line.shape !== "points")
        .sort(([, a], [, b]) => (b ?? -1) - (a ?? -1));
    const nameOf = (line) => [line.key, line.label].filter(Boolean).join(" ");
    const show = (plot) => {
      const at = plot.cursor.idx;
      tip.hidden = !active || at == null;
      if (tip.hidden) return;
      const items = rows(at).map(([line, value]) => {
        const mark = swatch(panel.keys.get(line.key), line.shape);
        return make("div", {}, mark, make("span", {}, nameOf(line)), make("b", {}, format(value)));
      });
      tip.replaceChildren(make("p", {}, `${format(data.x.values[at])} ${data.x.unit}`), ...items);
      const { left } = plot.cursor;
      const width = plot.over.clientWidth;
      const right = left > width / 2;
      tip.style.left = right ? "auto" : `${left + 14}px`;
      tip.style.right = right ? `${width - left + 14}px` : "auto";
    };

    const values = [data.x.values, ...chart.lines.map((line) => line.values)];
    const plot = new uPlot(optionsOf(panel, data, chart, show), values, box);
    plot.over.append(tip);
    panel.plots.push({ plot, box, lines: chart.lines });

    const activate = (on) => () => {
      active = on;
      show(plot);
    };
    plot.over.addEventListener("mouseenter", activate(true));
    plot.over.addEventListener("mouseleave", activate(false));
    box.addEventListener("blur", activate(false));
    box.addEventListener("keydown", (event) => {
      const last = data.x.values.length - 1;
      const now = plot.cursor.idx ?? -1;
      const page = Math.ceil(last / 20);
      const to = { ArrowRight: now + 1, ArrowLeft: now - 1, PageDown: now + page, PageUp: now - page, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      active = true;
      const at = Math.min(last, Math.max(0, to));
      plot.setCursor({ left: plot.valToPos(data.x.values[at], "x"), top: plot.over.clientHeight / 2 });
      const words = rows(at).map(([line, value]) => `${nameOf(line)} ${format(value)}`);
      said.textContent = `${format(data.x.values[at])} ${data.x.unit}: ${words.join(", ")}`;
    });
    numbers.addEventListener("toggle", () => numbers.open && fillNumbers(numbers, data, chart, nameOf), { once: true });
  }

  function fillNumbers(box, data, chart, nameOf) {
    const head = make("tr", {}, make("th", { scope: "col" }, `${data.x.label}, ${data.x.unit}`));
    for (const line of chart.lines) head.append(make("th", { scope: "col" }, nameOf(line)));
    const body = make("tbody");
    data.x.values.forEach((x, at) => {
      const row = make("tr", {}, make("th", { scope: "row" }, format(x)));
      for (const line of chart.lines) row.append(make("td", {}, format(line.values[at])));
      body.append(row);
    });
    const table = make("table", {}, make("caption", { class: "hidden" }, chart.title), make("thead", {}, head), body);
    box.append(make("div", { class: "scroll", tabindex: 0 }, table));
  }

  // --- panels

  function drawPanel(box) {
    if (box.dataset.drawn) return;
    box.dataset.drawn = "yes";
    const data = JSON.parse(box.querySelector("script").textContent);
    const shapes = new Map(data.charts.flatMap((chart) => chart.lines.map((line) => [line.key, line.shape])).reverse());
    const panel = {
      keys: new Map(data.keys.map((key) => [key.name, { ...key, shape: shapes.get(key.name) }])),
      sync: uPlot.sync(`panel-${panels.length}`),
      plots: [],
      grid: make("div", { class: "charts" }),
    };
    panels.push(panel);
    const hint = make("p", { class: "hint" }, "Choose a name to hide or show it. Drag over a chart to zoom, double-click to go back.");
    box.append(legend(panel), hint, panel.grid);
    for (const chart of data.charts) drawChart(panel, data, chart);
    fit(panel);
    new ResizeObserver(() => fit(panel)).observe(panel.grid);
  }

  function fit(panel) {
    const isPrinting = "print" in root.dataset;
    for (const { plot, box } of panel.plots) {
      const width = isPrinting ? PRINT_WIDTH : box.clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }

  function redraw() {
    for (const panel of panels) {
      fit(panel);
      for (const { plot } of panel.plots) plot.redraw(false);
    }
  }

  // --- tables and links

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const { value } = cell.dataset;
    return value === undefined ? cell.textContent.trim() : value === "" ? null : Number(value);
  };

  function sortBy(table, column, direction) {
    const body = table.tBodies[0];
    const order = (a, b) => {
      const [left, right] = [valueOf(a, column), valueOf(b, column)];
      if (left === null || right === null) return (left === null) - (right === null);
      const difference = typeof left === "number" ? left - right : left.localeCompare(right);
      return direction === "descending" ? -difference : difference;
    };
    const rows = [...body.rows].sort((a, b) => a.dataset.order - b.dataset.order);
    if (direction) rows.sort(order);
    body.append(...rows);
  }

  function makeSortable(table) {
    [...table.tBodies[0].rows].forEach((row, i) => (row.dataset.order = i));
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.tagName !== "TH") return; // a drawn axis
      const button = make("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      const first = head.dataset.first ?? "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = now === first ? second : now === second ? null : first;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        sortBy(table, column, next);
      });
    });
  }

  function makeFilter(input) {
    const items = all("[data-find]");
    const count = document.querySelector("[data-filter-count]");
    const whole = count.textContent;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const item of items) item.hidden = !words.every((word) => item.dataset.find.includes(word));
      for (const group of all("[data-group]")) group.hidden = !group.querySelector("[data-find]:not([hidden])");
      const rows = items.filter((item) => item.tagName === "TR");
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${shown} of ${rows.length} shown` : whole;
    });
  }

  function followLink() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  }

  // --- start

  for (const section of all("details:has(.panel)"))
    section.addEventListener("toggle", () => section.open && all(".panel", section).forEach(drawPanel));
  for (const box of all(".panel")) if (!box.closest("details:not([open])")) drawPanel(box);
  all("table.sortable").forEach(makeSortable);
  all("[data-filter]").forEach(makeFilter);
  for (const tools of all(".tools[hidden]")) tools.hidden = false;
  addEventListener("hashchange", followLink);
  addEventListener("click", (event) => event.target.closest?.("a")?.hash === location.hash && followLink());
  followLink();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => ((root.dataset.print = ""), redraw()));
  addEventListener("afterprint", () => (delete root.dataset.print, redraw()));
})();
