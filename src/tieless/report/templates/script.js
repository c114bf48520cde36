"use strict";
// The page is whole without this script, which adds: the switch of colours, filters, sorting, cells to open, the heat map and
// downloads.
const find = (selector, from = document) => [...from.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const make = (tag, text = "", values = {}) => Object.assign(document.createElement(tag), { textContent: text }, values);
const data = JSON.parse(byId("data").textContent);
data.cells.forEach((cell, number) => { cell.number = number; });

// Colours
const root = document.documentElement;
const theme = byId("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";
const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.hidden = false;
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
prefersDark.addEventListener("change", label);
label();

// Links into what is folded
const contents = document.querySelector(".contents");
const unfold = () => {
  for (let at = location.hash && byId(location.hash.slice(1)); at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
};
addEventListener("hashchange", unfold);
unfold();
document.addEventListener("click", (event) => { if (!event.target.closest(".contents summary")) contents.open = false; });

// Cells of a table by column, counted as if none were joined
const columns = (row) => [...row.cells].flatMap((cell) => Array(cell.colSpan).fill(cell));

// Sorting, and a key for each cell of a forward
const grids = find("table.grid");
const number = (cell) => parseFloat((cell?.textContent ?? "").trim().replace("−", "-"));
const sort = (table, head, column) => {
  const next = { none: column ? "descending" : "ascending", descending: column ? "ascending" : "none", ascending: column ? "none" : "descending" };
  const order = next[head.ariaSort ?? "none"];
  for (const other of find("thead th", table)) other.ariaSort = null;
  head.ariaSort = order === "none" ? null : order;
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => (column ? number(columns(row)[column]) : row.cells[0].textContent.trim());
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!column) return sign * x.localeCompare(y);
    return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || a.place - b.place;
  };
  const rows = [...table.tBodies[0].rows];
  rows.sort(order === "none" ? (a, b) => a.place - b.place : compare);
  table.tBodies[0].append(...rows);
};
for (const table of grids) {
  const [groups, heads] = table.tHead.rows;
  const keys = columns(groups).map((head) => head.dataset.k);
  [groups.cells[0], ...heads.cells].forEach((head, column) => {
    const button = make("button", head.textContent, { type: "button" });
    button.addEventListener("click", () => sort(table, head, column));
    head.replaceChildren(button);
    if (column) head.dataset.k = keys[column];
  });
  [...table.tBodies[0].rows].forEach((row, place) => {
    row.place = place;
    columns(row).forEach((cell, column) => { if (column) cell.dataset.k = keys[column]; });
    for (const cell of row.cells) {
      if (!cell.dataset.i) continue;
      const button = make("button", "", { type: "button" });
      button.append(...cell.childNodes);
      cell.append(button);
    }
  });
}

// Filters: an element with keys is off if it has another value of an axis that is set.
const filter = byId("filter");
const keyed = find("[data-k]").filter((element) => element.dataset.k.trim()).map((element) => [element, new Map(element.dataset.k.trim().split(/\s+/).map((key) => key.split("-")))]);
const holders = find("section.results, section.results article").map((element) => [element, new Set(find("td[data-i]", element).map((cell) => +cell.dataset.i))]);
let shown = data.cells;
const narrow = () => {
  const wanted = find("select", filter).filter((select) => select.value).map((select) => select.value.split("-"));
  for (const [element, keys] of keyed) {
    element.classList.toggle("off", wanted.some(([axis, value]) => keys.has(axis) && keys.get(axis) !== value));
  }
  shown = data.cells.filter((cell) => wanted.every(([axis, value]) => cell.at[axis] === +value));
  const numbers = new Set(shown.map((cell) => cell.number));
  for (const [element, cells] of holders) element.classList.toggle("off", ![...cells].some((cell) => numbers.has(cell)));
  filter.querySelector("output").textContent = wanted.length ? `${shown.length} of ${data.cells.length} cells` : "";
  drawMap();
};

// Heat map
const map = byId("map");
const drawMap = () => {
  if (!map?.open) return;
  const [down, across] = [+byId("map-rows").value, +byId("map-columns").value];
  const rates = data.filters.findIndex((axis) => axis.name === "learning rate");
  const free = [down, across].includes(rates) || (rates >= 0 && filter.elements[rates].value);
  const sums = new Map();
  for (const cell of shown) {
    if (cell.mean === null || !(free || cell.best)) continue;
    const key = `${cell.at[down]} ${cell.at[across]}`;
    const sum = sums.get(key) ?? { total: 0, count: 0, metrics: new Set(), lower: data.lower[cell.section] };
    sum.total += cell.mean; sum.count += 1; sum.metrics.add(cell.metric);
    sums.set(key, sum);
  }
  const alike = [...sums.values()].filter((sum) => sum.metrics.size === 1);
  const means = alike.map((sum) => sum.total / sum.count);
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const used = (axis) => data.filters[axis].values.map((value, place) => [value, place]).filter(([, place]) => shown.some((cell) => cell.at[axis] === place));
  const table = map.querySelector("table");
  const head = make("tr");
  head.append(make("th", `${data.filters[down].name} by ${data.filters[across].name}`, { scope: "col" }), ...used(across).map(([value]) => make("th", value, { scope: "col" })));
  const body = used(down).map(([value, row]) => {
    const line = make("tr");
    line.append(make("th", value, { scope: "row" }), ...used(across).map(([, column]) => {
      const sum = sums.get(`${row} ${column}`);
      if (!sum) return make("td", "–");
      if (sum.metrics.size > 1) return make("td", "several metrics");
      const mean = sum.total / sum.count;
      const share = most > least ? (mean - least) / (most - least) : 1;
      const cell = make("td", mean.toPrecision(4), { title: `mean of ${sum.count} cell${sum.count > 1 ? "s" : ""}` });
      cell.style.setProperty("--share", `${Math.round(100 * (sum.lower ? 1 - share : share))}%`);
      return cell;
    }));
    return line;
  });
  const metrics = [...new Set(shown.map((cell) => cell.metric))].join(", ");
  const told = `Mean test ${metrics} of the cells that the filters leave${rates >= 0 && !free ? ", each at its best learning rate" : ""}. Deeper is better.`;
  const [thead, tbody] = [make("thead"), make("tbody")];
  thead.append(head); tbody.append(...body);
  map.querySelector(".note").textContent = told;
  table.replaceChildren(thead, tbody);
};
if (map) {
  map.hidden = false;
  byId("map-columns").value = data.filters.length > 2 ? "2" : "1";
  map.addEventListener("toggle", drawMap);
  map.addEventListener("change", drawMap);
}
if (filter) {
  filter.hidden = false;
  filter.addEventListener("change", narrow);
  filter.addEventListener("reset", () => setTimeout(narrow));
  filter.addEventListener("submit", (event) => event.preventDefault());
}

// A cell: its seeds, settings and curves. Pointing or moving the focus shows it, a click keeps it.
const card = byId("card");
let kept = null;
let timer = 0;
const hide = () => { clearTimeout(timer); card.hidden = true; kept?.focus(); kept = null; };
const open = (cell) => {
  const record = data.cells[cell.dataset.i];
  const [title, ...estimates] = record.told;
  const seeds = document.querySelector(`td[data-n="${record.number}"]`)?.children ?? [];
  const lines = [...[...seeds].map((seed) => seed.textContent), ...estimates];
  byId("card-title").textContent = title;
  card.querySelector(".settings").textContent = data.sections[record.section].settings.join(" · ");
  card.querySelector("ul").replaceChildren(...lines.map((line) => make("li", line)));
  card.querySelector("code").textContent = `${data.sections[record.section].again} ${record.again}`.trim();
  const drawing = byId(record.panel)?.cloneNode(true);
  if (drawing) {
    for (const element of [drawing, ...find("[id]", drawing)]) element.removeAttribute("id");
    drawing.removeAttribute("aria-labelledby");
    drawing.removeAttribute("data-k");
    drawing.ariaLabel = `Learning curves of ${record.forward}, with that of ${record.rule} in front`;
    drawing.classList.remove("off");
    for (const curve of find(".c", drawing)) {
      curve.classList.remove("off");
      if (curve.classList.contains(record.style)) { curve.classList.add("this"); curve.parentElement.append(curve); }
    }
  }
  card.querySelector("div").replaceChildren(...(drawing ? [drawing] : []));
  const box = cell.getBoundingClientRect();
  card.classList.toggle("left", box.left + box.width / 2 > innerWidth / 2);
  card.hidden = false;
};
const cellOf = (event) => event.target.closest?.("td[data-i]");
document.addEventListener("pointerover", (event) => {
  if (kept || event.pointerType !== "mouse" || card.contains(event.target)) return;
  clearTimeout(timer);
  const cell = cellOf(event);
  timer = setTimeout(() => (cell ? open(cell) : hide()), 250);
});
document.addEventListener("focusin", (event) => {
  const cell = cellOf(event);
  // A press gives the focus too: a card that opened under the finger would take the click.
  if (cell && !kept && event.target.matches(":focus-visible")) open(cell);
  else if (!cell && !kept && !card.contains(event.target)) hide();
});
document.addEventListener("click", (event) => {
  const cell = cellOf(event);
  if (cell) {
    clearTimeout(timer);
    open(cell);
    kept = cell.querySelector("button");
    byId("card-title").focus();
  } else if (!card.hidden && (!card.contains(event.target) || event.target.closest("button, a"))) hide();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") { hide(); contents.open = false; } });

// Downloads: the numbers behind each figure, as CSV
const quoted = (value) => { const text = String(value ?? ""); return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text; };
const named = (cell) => [data.sections[cell.section].title, cell.rule, cell.forward, cell.rate];
const rowsOf = {
  runs: (table) => [
    ["setting", "backward rule", "forward", "learning rate", "seed", "status", "value", "metric"],
    ...cellsIn(table).flatMap((cell) => cell.runs.map((run) => [...named(cell), ...run, cell.metric])),
  ],
  epochs: (figure) => [
    ["setting", "backward rule", "forward", "learning rate", "epoch", "mean", "lowest", "highest", "metric"],
    ...cellsIn(figure.closest("article")).flatMap((cell) =>
      Array.from({ length: cell.epochs.length / 3 }, (_, i) => [...named(cell), i + 1, ...cell.epochs.slice(3 * i, 3 * i + 3), cell.metric])),
  ],
  map: (table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
};
const cellsIn = (element) => find("td[data-i]", element).map((cell) => data.cells[cell.dataset.i]);
for (const figure of find("[data-csv]")) {
  const kind = figure.dataset.csv;
  const button = make("button", "CSV", { type: "button", className: "csv" });
  button.ariaLabel = `Download as CSV: ${kind === "runs" ? figure.caption.textContent : { epochs: "learning curves", map: "heat map", claims: "claims" }[kind] ?? kind}`;
  button.addEventListener("click", () => {
    const text = (rowsOf[kind]?.(figure) ?? data.tables[kind]).map((row) => row.map(quoted).join(",")).join("\n");
    const address = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
    make("a", "", { href: address, download: `${kind}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  });
  const again = make("a", "command", { href: "#run" });
  again.ariaLabel = "The command that runs this again";
  const tools = make("p", "", { className: "tools" });
  tools.append(button, again);
  (figure.closest(".scroll") ?? figure).after(tools);
}
