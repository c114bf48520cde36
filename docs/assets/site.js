// Tables with numbers: a click on the head of a column sorts, and a long table has a field that filters its rows.
// A term of the glossary is explained on hover where a page has it first.
"use strict";

const FILTERED = 12;

// "−0.80 ?" is a number and a mark, "+39.38 ✓ (5/5)" too; a dash or nothing is last in either order.
function key(cell) {
  const text = cell.textContent.trim();
  const number = text.replace(/[\u2212\u2013]/g, "-").replace(/,(?=\d{3})/g, "").match(/^[+-]?\d+(\.\d+)?/);
  return { text, number: number ? parseFloat(number[0]) : null, empty: text === "" || text === "\u2013" };
}

function compare(a, b) {
  if (a.number !== null && b.number !== null) return a.number - b.number;
  return a.text.localeCompare(b.text, "en", { numeric: true });
}

function sort(table, column, heads) {
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: key(row.cells[column]) }));
  rows.sort((a, b) => a.key.empty - b.key.empty || (descending ? -1 : 1) * compare(a.key, b.key));
  body.append(...rows.map(({ row }) => row));
  heads.forEach((head, i) => {
    if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

// First cells that repeat those above are written empty: rows that move or hide take the words along.
function complete(table) {
  if (table.dataset.complete) return;
  table.dataset.complete = "yes";
  let above = null;
  for (const row of table.tBodies[0].rows) {
    for (let i = 0; above && i < row.cells.length - 1 && !row.cells[i].textContent.trim(); i++) {
      row.cells[i].innerHTML = above.cells[i].innerHTML;
    }
    above = row;
  }
}

function filter(table) {
  const field = document.createElement("input");
  field.type = "search";
  field.className = "table-filter";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", "Filter the rows of the table");
  field.addEventListener("input", () => {
    complete(table);
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.before(field);
}

function enhance(table) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = table.tBodies[0].rows.length;
  const numbers = heads.some((head) => head.style.textAlign === "right");
  if (rows < 3 || !(numbers || rows >= FILTERED)) return;
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "table-sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      complete(table);
      sort(table, column, heads);
    });
  });
  if (rows >= FILTERED) filter(table);
}

// Markdown marks a term wherever it stands.
function explainOnce() {
  const seen = new Set();
  document.querySelectorAll(".md-content abbr[title]").forEach((term) => {
    if (seen.has(term.title) || term.closest("h1, h2, h3, h4, a, summary, th")) term.replaceWith(...term.childNodes);
    else seen.add(term.title);
  });
}

function start() {
  explainOnce();
  document
    .querySelectorAll(".md-typeset table:not([class])")
    .forEach((table) => table.tHead && table.tBodies.length && enhance(table));
  name();
  // The theme adds its code boxes later.
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}

// Landmarks of the theme have one name several times, and a table that scrolls can only be scrolled by a pointer.
function name() {
  document.querySelectorAll("nav.md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelectorAll("nav[aria-labelledby]").forEach((nav) => {
    const id = nav.getAttribute("aria-labelledby");
    nav.removeAttribute("aria-labelledby");
    nav.setAttribute("aria-label", `Pages of ${document.getElementById(id)?.textContent.trim() || id}`);
  });
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
