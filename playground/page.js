// The page: controls, the loop of frames, links and texts. Whatever is shown is read from one experiment.

import { CATALOGUE } from "./catalogue.js";
import { DATA } from "./data.js";
import { drawBoundary, drawCosines, drawLosses, drawSlopes, HUES, readColours } from "./drawing.js";
import { Experiment } from "./experiment.js";
import { FORWARDS, isFlat } from "./forwards.js";
import { OPTIMISERS } from "./optimisers.js";
import { PRESETS } from "./presets.js";
import { pythonOf } from "./python.js";
import { refusal } from "./rules.js";
import { DEFAULTS, DEPTHS, READERS, readSettings, WIDTHS, writeSettings } from "./settings.js";
import { complaint, formatRule, parseRule, partOf } from "./specs.js";

const BUDGET = 14; // milliseconds of training in one frame
const PAUSES = [400, 1000, 2000, 5000, 10000]; // steps at which the training waits for the reader
const LEAST_STEPS_OF_PROGRAM = 20;

const find = (id) => document.getElementById(id);
const controls = find("controls");
const control = (name) => controls.elements.namedItem(name);

let settings;
let experiment;
let colours;
let playing = false;
let frame = 0;

// Controls

function options(select, groups) {
  for (const [title, choices] of groups) {
    const parent = title ? select.appendChild(Object.assign(document.createElement("optgroup"), { label: title })) : select;
    for (const [value, text] of choices) parent.append(new Option(text, value));
  }
}

const same = (values) => [["", values.map((value) => [value, String(value)])]];
const FAMILIES = { slope: "Multipliers", jam: "Random multipliers", transform: "Transforms of the gradient" };

function ruleGroups() {
  const names = Object.keys(CATALOGUE.rules);
  return Object.entries(FAMILIES).map(([family, title]) => [
    title,
    names.filter((name) => CATALOGUE.rules[name].family === family).map((name) => [name, name]),
  ]);
}

function fillControls() {
  const forwards = (flat) => CATALOGUE.forwards.filter((one) => one.flat === flat).map(({ spec }) => [spec, spec]);
  options(control("forward"), [["Flat: the derivative is 0", forwards(true)], ["With a derivative", forwards(false)]]);
  options(control("rule"), ruleGroups());
  options(control("then"), [["", [["", "nothing"]]], ...ruleGroups()]);
  options(control("data"), same(DATA));
  options(control("depth"), same(DEPTHS));
  options(control("width"), same(WIDTHS));
  options(control("optimiser"), [["", Object.entries(OPTIMISERS).map(([name, { title }]) => [name, title])]]);
}

/** Inputs for the parameters of one part of the rule. */
function showParameters(place, part) {
  place.replaceChildren();
  for (const { name, kind, choices } of part ? CATALOGUE.rules[part.name].parameters : []) {
    const input = document.createElement(choices ? "select" : "input");
    if (choices) options(input, same(choices));
    else Object.assign(input, { type: "number", step: kind === "int" ? "1" : "any", inputMode: "decimal" });
    input.value = part.values[name];
    input.dataset.parameter = name;
    const text = document.createElement("label");
    text.append(`${name} `, input);
    place.append(text);
  }
}

function showSettings() {
  for (const name of ["forward", "data", "noise", "depth", "width", "optimiser", "rate", "seed"]) {
    control(name).value = settings[name];
  }
  const [first, second] = parseRule(settings.rule);
  control("rule").value = first.name;
  control("then").value = second?.name ?? "";
  showParameters(find("parameters"), first);
  showParameters(find("then-parameters"), second);
  showWords();
}

/** Text in which what stands between backquotes is code. */
function withCode(element, text) {
  text.split(/`+/).forEach((piece, i) => {
    element.append(i % 2 ? Object.assign(document.createElement("code"), { textContent: piece }) : piece);
  });
}

function showWords() {
  const words = find("words");
  words.replaceChildren();
  withCode(words, parseRule(settings.rule).map(({ name }) => CATALOGUE.rules[name].words).join(" Then: "));
}

function partFrom(select, place) {
  const part = partOf(select.value);
  for (const input of place.querySelectorAll("[data-parameter]")) {
    const { parameter } = input.dataset;
    part.values[parameter] = input.tagName === "SELECT" ? input.value : input.value.trim() === "" ? NaN : Number(input.value);
  }
  return part;
}

/** Rule that the controls hold; throws an Error in words if it is none. */
function ruleFrom() {
  const rule = [partFrom(control("rule"), find("parameters"))];
  if (control("then").value) rule.push(partFrom(control("then"), find("then-parameters")));
  for (const part of rule) if (complaint(part)) throw new Error(complaint(part));
  const refused = refusal(rule, control("forward").value);
  if (refused) throw new Error(refused);
  return formatRule(rule);
}

function showError(message) {
  find("error").textContent = message;
  find("error").hidden = !message;
}

/** Take over what the controls hold; what cannot be read is named, and the settings stay. */
function takeSettings(event) {
  if (event.target.id === "speed") return;
  if (event.target.name === "rule") showParameters(find("parameters"), partOf(event.target.value));
  if (event.target.name === "then") {
    showParameters(find("then-parameters"), event.target.value ? partOf(event.target.value) : null);
  }
  const next = {};
  for (const name of Object.keys(DEFAULTS)) {
    const input = name === "rule" ? event.target : control(name);
    try {
      next[name] = name === "rule" ? ruleFrom() : READERS[name](input.value);
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      showError(name === "rule" ? error.message : `${name}: ${error.message}`);
      return;
    }
  }
  showError("");
  for (const input of controls.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  start(next, playing || experiment.steps > 0);
}

// Experiment

function start(next, play) {
  settings = next;
  experiment = new Experiment(settings);
  experiment.step(); // so that there is something to see
  experiment.measure();
  history.replaceState(null, "", writeSettings(settings));
  find("program").hidden = true;
  find("python").setAttribute("aria-expanded", "false");
  showWords();
  showPreset();
  makePanels();
  setPlaying(play);
  draw(true);
}

function setPlaying(play) {
  playing = play && !experiment.chosen.lost;
  find("play").textContent = playing ? "Pause" : "Play";
  if (playing) frame ||= requestAnimationFrame(onFrame);
  else describe();
}

function onFrame() {
  frame = 0;
  if (!playing) return;
  const wanted = Number(find("speed").value);
  const end = performance.now() + BUDGET;
  for (let i = 0; i < wanted && performance.now() < end; i++) {
    experiment.step();
    if (experiment.chosen.lost || PAUSES.includes(experiment.steps)) {
      finish();
      return;
    }
  }
  experiment.measure();
  draw(false);
  frame = requestAnimationFrame(onFrame);
}

function finish() {
  if (!experiment.chosen.lost) experiment.measure();
  setPlaying(false);
  draw(true);
}

function oneStep() {
  setPlaying(false);
  if (experiment.chosen.lost) return;
  experiment.step();
  finish();
}

// Pictures and numbers

const percent = (share) => `${(100 * share).toFixed(0)}\u00a0%`;

function numbers(run) {
  if (run.lost) return "diverged";
  return `loss ${run.pass.loss.toFixed(3)}, ${percent(run.accuracy)} right`.replaceAll(/(loss|%) /g, "$1\u00a0");
}

function makePanels() {
  const panels = Array.from({ length: settings.depth }, (_, layer) => {
    const panel = document.createElement("div");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    const text = document.createElement("p");
    const name = Object.assign(document.createElement("b"), { textContent: `Hidden layer ${layer + 1}` });
    text.append(name, " ", document.createElement("span"));
    panel.append(text, canvas);
    return panel;
  });
  find("panels").replaceChildren(...panels);
  const legend = experiment.chosen.network.map((_, layer) => {
    const item = document.createElement("li");
    const mark = Object.assign(document.createElement("span"), { className: "mark", textContent: `layer ${layer + 1} ` });
    mark.style.setProperty("--hue", `var(${HUES[layer]})`);
    item.append(mark, document.createElement("b"));
    return item;
  });
  find("cosine-legend").replaceChildren(...legend);
}

const LANDMARKS = [-1, -0.5, 0, 0.5, 1]; // one of them is where the derivative of each forward is nearly its largest

/** Shares of a layer's elements: those whose gradient is blocked, and those at which the derivative is nearly 0. */
export function shares(run, layer) {
  const { z, y } = run.pass.layers[layer];
  const { arrived, left } = run.pass.sent[layer];
  let [came, blocked, flat] = [0, 0, 0];
  const slopes = isFlat(run.forward) ? null : z.map((one, i) => Math.abs(FORWARDS[run.forward].slope(one, y[i])));
  const { value, slope } = FORWARDS[run.forward];
  const least = slopes && 0.05 * Math.max(...LANDMARKS.map((at) => Math.abs(slope(at, value(at)))));
  z.forEach((_, i) => {
    if (arrived[i] !== 0) came++;
    if (arrived[i] !== 0 && left[i] === 0) blocked++;
    if (slopes && slopes[i] < least) flat++;
  });
  return { blocked: came ? blocked / came : NaN, flat: slopes ? flat / z.length : NaN };
}

function draw(everything) {
  const { chosen, tied, frozen, data } = experiment;
  const heavy = settings.width * settings.depth > 48;
  const places = [["chosen", chosen, heavy ? 44 : 72], ["tied", tied, heavy ? 28 : 40], ["frozen", frozen, heavy ? 28 : 40]];
  places.forEach(([id, run, resolution], i) => {
    if (everything || id === "chosen" ? true : experiment.steps % 2 === i % 2) {
      drawBoundary(find(id), run, data, colours, resolution);
    }
    const zero = id === "tied" && isFlat(settings.forward);
    find(`${id}-numbers`).textContent = zero ? "is 0 everywhere, so this is the frozen network" : numbers(run);
  });
  drawLosses(find("losses"), experiment, colours);
  drawCosines(find("cosines"), experiment, colours);
  [...find("panels").children].forEach((panel, layer) => {
    drawSlopes(panel.querySelector("canvas"), experiment, layer, colours);
    const { blocked, flat } = shares(chosen, layer);
    const words = [`${percent(blocked)} of the gradient blocked`];
    if (Number.isFinite(flat)) words.push(`${percent(flat)} of z off or saturated`);
    panel.querySelector("span").textContent = Number.isFinite(blocked) ? words.join(", ") : "no gradient arrives";
  });
  const { cosines } = experiment.cosines.at(-1);
  [...find("cosine-legend").children].forEach((item, layer) => {
    item.querySelector("b").textContent = Number.isFinite(cosines[layer]) ? cosines[layer].toFixed(2).replace("-", "−") : "none";
  });
  find("steps").textContent = experiment.steps;
  find("losses-words").textContent = isFlat(settings.forward)
    ? "Green is your rule, dotted is frozen. The derivative of this forward is 0: its line is the frozen one."
    : "Green is your rule, black or white is the derivative, dotted is frozen.";
  find("cosines-words").textContent = isFlat(settings.forward)
    ? "Cosine of each layer's gradient with that of the smoothed step; thick is the mean of nearby frames."
    : "Cosine of each layer's gradient with that of the derivative; thick is the mean of nearby frames.";
  if (everything) describe();
}

/** Words of each picture for those who do not see it, when the training pauses. */
function describe() {
  const { chosen, tied, frozen } = experiment;
  const say = (id, text) => find(id).setAttribute("aria-label", text);
  say("chosen", `Decision boundary under your rule, ${settings.rule}: ${numbers(chosen)}.`);
  say("tied", `Decision boundary under the derivative: ${numbers(tied)}.`);
  say("frozen", `Decision boundary with frozen hidden layers: ${numbers(frozen)}.`);
  const last = [["your rule", chosen], ["the derivative", tied], ["frozen", frozen]];
  say("losses", `Loss after ${experiment.steps} steps: ${last.map(([name, run]) => `${name} ${run.losses.at(-1).toFixed(3)}`).join(", ")}.`);
  const { cosines } = experiment.cosines.at(-1);
  say("cosines", `Cosines with the derivative: ${cosines.map((one, i) => `layer ${i + 1} ${one.toFixed(2)}`).join(", ")}.`);
  [...find("panels").children].forEach((panel) => {
    panel.querySelector("canvas").setAttribute("aria-label", `Multipliers over z. ${panel.querySelector("p").textContent}.`);
  });
}

// Presets, link, program, theme

const withPreset = (preset) => ({ ...DEFAULTS, ...preset.settings, seed: settings.seed });

function showPreset() {
  const running = PRESETS.find((preset) => writeSettings(withPreset(preset)) === writeSettings(settings));
  PRESETS.forEach((preset) => {
    find("presets").querySelector(`[data-preset="${preset.name}"]`).setAttribute("aria-pressed", String(preset === running));
  });
  find("look").hidden = !running;
  find("look").textContent = running?.look ?? "";
}

function makePresets() {
  for (const preset of PRESETS) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.preset = preset.name;
    const title = Object.assign(document.createElement("b"), { textContent: preset.title });
    button.append(title, Object.assign(document.createElement("span"), { textContent: preset.sentence }));
    button.addEventListener("click", () => {
      settings = withPreset(preset);
      showError("");
      showSettings();
      start(settings, true);
    });
    find("presets").append(button);
  }
}

/** Copy a text, and say so on the button for a moment. */
async function copy(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

const program = () => pythonOf(settings, Math.max(experiment.steps, LEAST_STEPS_OF_PROGRAM));

function showProgram() {
  const hidden = !find("program").hidden;
  find("program").hidden = hidden;
  find("python").setAttribute("aria-expanded", String(!hidden));
  if (!hidden) find("code").textContent = program();
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";

/** Theme that was chosen on the other pages of the site, if one was. */
function themeOfSite() {
  try {
    const key = Object.keys(localStorage).find((one) => one.endsWith("__palette"));
    return { default: "light", slate: "dark" }[JSON.parse(localStorage.getItem(key)).color.scheme];
  } catch {
    return undefined; // no storage, or nothing chosen
  }
}

function showTheme() {
  find("theme").textContent = isDark() ? "Light" : "Dark";
  colours = readColours(document.body);
  if (experiment) draw(true);
}

function begin() {
  const theme = themeOfSite();
  if (theme) document.documentElement.dataset.theme = theme;
  showTheme();
  prefersDark.addEventListener("change", showTheme);
  find("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  makePresets();
  fillControls();
  const fromLink = () => {
    const { settings: read, complaints } = readSettings(location.hash);
    find("notice").textContent = complaints.join(" ");
    find("notice").hidden = !complaints.length;
    settings = read;
    showSettings();
    start(read, !matchMedia("(prefers-reduced-motion: reduce)").matches);
  };
  fromLink();
  addEventListener("hashchange", fromLink);
  controls.addEventListener("change", takeSettings);
  controls.addEventListener("submit", (event) => event.preventDefault());
  find("play").addEventListener("click", () => setPlaying(!playing));
  find("step").addEventListener("click", oneStep);
  find("reset").addEventListener("click", () => start(settings, false));
  find("settings").addEventListener("click", () => {
    controls.scrollIntoView({ behavior: "smooth" });
    control("forward").focus({ preventScroll: true });
  });
  find("link").addEventListener("click", () => copy(find("link"), location.href));
  find("python").addEventListener("click", showProgram);
  find("copy").addEventListener("click", () => copy(find("copy"), program()));
  new ResizeObserver(() => draw(true)).observe(find("panels"));
}

begin();
