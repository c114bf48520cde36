"use strict";
// The page is whole without this script: it adds a switch for the colours and the seeds' values on a touch screen.
const root = document.documentElement;
const button = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";
const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
button.hidden = false;
button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
prefersDark.addEventListener("change", label);
label();

const shown = document.getElementById("values");
const contents = document.querySelector(".contents");
const show = (text) => { shown.textContent = text; shown.hidden = !text; };
document.addEventListener("click", (event) => {
  const cell = event.target.closest("td[title]");
  show(cell && cell.title !== shown.textContent ? cell.title : "");
  if (!event.target.closest("summary")) contents.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { show(""); contents.open = false; }
});
