// Pictures on canvases: boundary, losses, multipliers over z, cosines. They read an experiment and change nothing.

import { FORWARDS, isFlat } from "./forwards.js";
import { logistic } from "./functions.js";
import { forwardPass } from "./network.js";
import { slopeOfChain } from "./rules.js";

export const REACH = 1.25; // half the side of the square that is shown
export const HUES = ["--c0", "--c1", "--c2", "--c4", "--c5"];

/** Colours of the style sheet as numbers, by name; read anew when the theme changes. */
export function readColours(element) {
  const probe = element.appendChild(document.createElement("span"));
  const names = ["--page", "--surface", "--ink", "--soft", "--grey", "--line", "--strong", "--c3", ...HUES];
  const colours = Object.fromEntries(
    names.map((name) => {
      probe.style.color = `var(${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  );
  probe.remove();
  return colours;
}

/** Context of a canvas whose unit is a CSS pixel, cleared, with its width and height. */
function cleared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const density = Math.min(globalThis.devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
  }
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '11px system-ui, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
  return { context, width, height };
}

const numbersOf = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);

/** Frame with linear axes: functions from values to places, and ticks with their labels. */
function axes({ context, width, height }, colours, { x, y, xTicks, yTicks, left = 34, bottom = 20, top = 8, right = 14 }) {
  const atX = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
  const atY = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - bottom - top);
  context.strokeStyle = colours["--line"];
  context.fillStyle = colours["--soft"];
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of yTicks) {
    context.beginPath();
    context.moveTo(left, Math.round(atY(tick)) + 0.5);
    context.lineTo(width - right, Math.round(atY(tick)) + 0.5);
    context.stroke();
    context.fillText(label(tick), left - 6, atY(tick));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of xTicks) context.fillText(label(tick), atX(tick), height - bottom + 5);
  return { atX, atY };
}

const label = (value) => (value < 0 ? "−" : "") + String(Number(Math.abs(value).toPrecision(3)));

/** Ticks at 1, 2 or 5 times a power of ten, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const distance = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let k = Math.ceil(low / distance - 1e-9); k * distance <= high + 1e-9 * distance; k++) found.push(k * distance);
  return found;
}

function line(context, points, colour, { width = 2, dash = [] } = {}) {
  context.beginPath();
  let broken = true;
  for (const [x, y] of points) {
    if (Number.isFinite(y)) context[broken ? "moveTo" : "lineTo"](x, y);
    broken = !Number.isFinite(y);
  }
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

/** Every n-th element, so that no more than `most` are left, and the last one. */
export function thinned(values, most) {
  const every = Math.ceil(values.length / most);
  return every <= 1 ? values : values.filter((_, i) => i % every === 0 || i === values.length - 1);
}

/** Class that a network gives to each place of the square, as a tint, and the points. */
export function drawBoundary(canvas, run, { points, labels }, colours, resolution) {
  const { context, width, height } = cleared(canvas);
  const grid = new Float64Array(2 * resolution * resolution);
  for (let row = 0; row < resolution; row++) {
    for (let column = 0; column < resolution; column++) {
      const at = 2 * (row * resolution + column);
      grid[at] = REACH * ((2 * column + 1) / resolution - 1);
      grid[at + 1] = REACH * (1 - (2 * row + 1) / resolution);
    }
  }
  const { logits } = forwardPass(run.network, Array(run.network.length - 1).fill(FORWARDS[run.forward]), grid);
  const [page, zero, one] = ["--surface", "--c1", "--c0"].map((name) => numbersOf(colours[name]));
  const image = new ImageData(resolution, resolution);
  logits.forEach((x, i) => {
    const chance = logistic(x);
    const hue = chance > 0.5 ? one : zero;
    const strength = 0.08 + 0.4 * Math.abs(2 * chance - 1);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = page[c] + strength * (hue[c] - page[c]);
    image.data[4 * i + 3] = Number.isFinite(x) ? 255 : 0;
  });
  const small = new OffscreenCanvas(resolution, resolution);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, width, height);
  const radius = Math.max(2, width / 110);
  for (let i = 0; i < labels.length; i++) {
    context.beginPath();
    const [x, y] = [points[2 * i], points[2 * i + 1]];
    context.arc(((x / REACH + 1) / 2) * width, ((1 - y / REACH) / 2) * height, radius, 0, 2 * Math.PI);
    context.fillStyle = colours[labels[i] ? "--c0" : "--c1"];
    context.fill();
    context.strokeStyle = colours["--surface"];
    context.lineWidth = 0.8;
    context.stroke();
  }
}

const LOSS_CEILING = 1.2;

/** Loss of each network before each step. */
export function drawLosses(canvas, experiment, colours) {
  const frame = cleared(canvas);
  const last = Math.max(100, experiment.steps);
  const first = Math.max(...experiment.runs().map((run) => run.losses[0] ?? 0.7));
  const y = [0, Math.min(LOSS_CEILING, Math.max(0.75, 1.05 * first))];
  const { atX, atY } = axes(frame, colours, { x: [0, last], y, xTicks: ticks(0, last, 5), yTicks: ticks(...y, 4) });
  const draw = (run, colour, style) => {
    const points = thinned(run.losses.map((loss, step) => [step, loss]), 500);
    line(frame.context, points.map(([step, loss]) => [atX(step), atY(Math.min(loss, y[1]))]), colour, style);
  };
  draw(experiment.frozen, colours["--grey"], { dash: [2, 4], width: 2.4 });
  draw(experiment.chosen, colours["--c2"], { width: 3 });
  if (experiment.tied !== experiment.frozen) draw(experiment.tied, colours["--ink"], { width: 1.4 });
}

/** Half widths of the axis of z; the smallest that holds nearly all z is taken, so that the axis seldom jumps. */
const REACHES = [2, 3, 5, 8, 12, 20, 30, 50, 100, 200, 500, 1000, 1e4, 1e6];
const BARS = 41;
const DOTS = 400;

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

/** Multipliers of the rule and of the derivative, over the histogram of one layer's z. */
export function drawSlopes(canvas, experiment, layer, colours) {
  const frame = cleared(canvas);
  const { context } = frame;
  const { forward } = experiment.settings;
  const { pass } = experiment.chosen;
  const { z } = pass.layers[layer];
  const { arrived, left } = pass.sent[layer];
  const far = quantile(z.map(Math.abs).sort(), 0.98);
  const reach = REACHES.find((one) => one >= far) ?? REACHES.at(-1);
  const slope = slopeOfChain(experiment.rule, forward);
  const derivative = (at) => (isFlat(forward) ? 0 : FORWARDS[forward].slope(at, FORWARDS[forward].value(at)));
  const xs = Array.from({ length: 241 }, (_, i) => reach * (i / 120 - 1));
  const curve = slope && xs.map((x) => slope(x, FORWARDS[forward].value(x)));
  const every = Math.floor(z.length / DOTS) | 1; // odd, so that every unit has its turn: widths are powers of 2
  const dots = [];
  if (!curve) for (let i = 0; i < z.length; i += every) if (arrived[i] !== 0) dots.push([z[i], left[i] / arrived[i]]);
  const heights = [...(curve ?? dots.map(([, height]) => height).sort((a, b) => a - b)), 0, 1];
  const sizes = heights.filter(Number.isFinite).sort((a, b) => a - b);
  const [low, high] = curve ? [sizes[0], sizes.at(-1)] : [Math.min(0, quantile(sizes, 0.03)), Math.max(1, quantile(sizes, 0.97))];
  const pad = 0.1 * (high - low);
  const y = [low - pad, high + pad];
  const { atX, atY } = axes(frame, colours, { x: [-reach, reach], y, xTicks: ticks(-reach, reach, 4), yTicks: ticks(low, high, 3) });

  const counts = new Float64Array(BARS);
  for (const one of z) {
    const bar = Math.floor(((one / reach + 1) / 2) * BARS);
    if (bar >= 0 && bar < BARS) counts[bar]++;
    else counts[bar < 0 ? 0 : BARS - 1]++; // what lies outside is counted at the edge
  }
  const most = Math.max(...counts);
  const [floor, ceiling] = [atY(y[0]), atY(y[1])];
  context.fillStyle = colours["--strong"];
  context.globalAlpha = 0.55;
  counts.forEach((count, i) => {
    const [from, to] = [atX(reach * ((2 * i) / BARS - 1)), atX(reach * ((2 * i + 2) / BARS - 1))];
    const tall = (count / most) * (floor - ceiling) * 0.8;
    context.fillRect(from, floor - tall, to - from - 1, tall);
  });
  context.globalAlpha = 1;
  const inside = (value) => Math.min(Math.max(value, y[0]), y[1]);
  line(context, xs.map((x) => [atX(x), atY(inside(derivative(x)))]), colours["--ink"], { width: 1.6, dash: [5, 4] });
  context.fillStyle = colours["--c2"];
  for (const [x, height] of dots) {
    if (Math.abs(x) > reach || height < y[0] || height > y[1]) continue;
    context.beginPath();
    context.arc(atX(x), atY(height), 1.5, 0, 2 * Math.PI);
    context.fill();
  }
  if (curve) line(context, xs.map((x, i) => [atX(x), atY(inside(curve[i]))]), colours["--c2"], { width: 2.6 });
}

/** Mean of each value and those up to `around` places beside it, without those that are no numbers. */
function averaged(values, around) {
  return values.map((_, i) => {
    const near = values.slice(Math.max(0, i - around), i + around + 1).filter(Number.isFinite);
    return near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : NaN;
  });
}

/** Cosine of each layer's gradient with the derivative's, over the steps. */
export function drawCosines(canvas, experiment, colours) {
  const frame = cleared(canvas);
  const last = Math.max(100, experiment.steps);
  const { atX, atY } = axes(frame, colours, {
    x: [0, last],
    y: [-1.05, 1.05],
    xTicks: ticks(0, last, 5),
    yTicks: [-1, -0.5, 0, 0.5, 1],
  });
  const { context } = frame;
  const records = thinned(experiment.cosines, 250);
  experiment.chosen.network.forEach((_, layer) => {
    const each = records.map(({ cosines }) => cosines[layer]);
    const points = (values) => values.map((value, i) => [atX(records[i].step), atY(value)]);
    context.globalAlpha = 0.25;
    line(context, points(each), colours[HUES[layer]], { width: 1 });
    context.globalAlpha = 1;
    line(context, points(averaged(each, Math.ceil(each.length / 30))), colours[HUES[layer]], { width: 2.2 });
  });
}
