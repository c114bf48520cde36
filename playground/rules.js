// Backward rules: (incoming gradient, z) -> gradient passed down. `docs/rules.md` has the formulas.

import { CATALOGUE } from "./catalogue.js";
import { FORWARDS } from "./forwards.js";
import { clamp, round } from "./functions.js";
import { uniforms } from "./random.js";
import { formatRule } from "./specs.js";

const { abs, exp, sqrt, PI } = Math;
const square = (x) => x * x;

// Multipliers, as functions of z and of the rule's parameters.

const sigmoidBump = (z, width, height) => {
  const fallen = exp(-abs(z) / width);
  return (4 * height * fallen) / square(1 + fallen);
};

const fastSigmoid = (z, p) => p.height / square(1 + abs(z) / p.width);

function squareWaveSeries(z, { width, height, terms }) {
  const turns = z * (0.25 / width);
  const angle = (turns - round(turns)) * 2 * PI;
  let waves = 0;
  for (let term = 1; term <= terms; term++) waves += Math.cos((2 * term - 1) * angle);
  return waves * (height / terms);
}

function swishSign(z, { width, height }) {
  const t = Math.min(abs(z) / width, 1000);
  const fallen = exp(-t);
  return (height * (2 - (t * (1 - fallen)) / (1 + fallen)) * 2 * fallen) / square(1 + fallen);
}

const SLOPES = {
  atan: (z, p) => p.height / (1 + square(z / p.width)),
  circ: (z, p) => p.height * (1 / sqrt(1 + square(z / p.width))) ** 3,
  constant: (z, p) => p.value,
  erf: (z, p) => p.height * exp(-square(z / p.width)),
  fake_numerical_gradient: (z, p) => p.height / Math.max(1, abs(z) / p.width),
  fast_sigmoid: fastSigmoid,
  frozen: () => 0,
  leaky_relu: (z, p) => (z > 0 ? p.height : p.leak),
  log_tailed_relu: (z, p) => (z <= 0 ? p.leak : p.height / Math.max(1, z / p.width)),
  piecewise_exp: (z, p) => p.height * exp(-abs(z - p.center) / p.width),
  piecewise_leaky_relu: (z, p) => (abs(z) <= p.width ? p.height : p.leak),
  q_pseudo_spike: (z, p) => p.height * exp(-p.power * Math.log1p(abs(z) / p.width)),
  rectangular: (z, p) => (z >= p.low && z <= p.high ? p.height : 0),
  s2nn: (z, p) => (z < 0 ? sigmoidBump(z, p.width, p.left) : p.height / (1 + abs(z))),
  sigmoid: (z, p) => sigmoidBump(z, p.width, p.height),
  sign_log_abs: (z, p) => p.height / (1 + abs(z) / p.width),
  sparse_fast_sigmoid: (z, p) => ((p.part === "above" ? z > p.bound : abs(z) < p.bound) ? fastSigmoid(z, p) : 0),
  square_wave_series: squareWaveSeries,
  swish_sign: swishSign,
  triangular: (z, p) => Math.max(0, 1 - abs(z) / p.width) * p.height,
};

/** Multiplier that the library computed for a forward: two values by a window, or several by their boundaries. */
function levelsAt(z, { low, high, open, inside, outside, boundaries, values, even }) {
  if (values) return values[boundaries.filter((boundary) => (even ? abs(z) : z) > boundary).length];
  const above = low === null || (open.includes("low") ? z > low : z >= low);
  const below = high === null || (open.includes("high") ? z < high : z <= high);
  return above && below ? inside : outside;
}

// Random multipliers, as functions of the incoming gradient, z and a uniform number.

function jam(g, passes, u, { minimum, maximum, replace }) {
  const multiplier = u * (maximum - minimum) + minimum;
  return passes ? { slope: g, magnitude: Math.sign(g), feedback: 1 }[replace] * multiplier : 0;
}

const tested = (g, z, p) => (p.gate === "feedback" ? g : z);

const JAMS = {
  full_jam: (g, z, u, p) => jam(g, true, u, p),
  positive_jam: (g, z, u, p) => jam(g, tested(g, z, p) >= 0, u, p),
  rectangular_jam: (g, z, u, p) => jam(g, tested(g, z, p) >= p.low && tested(g, z, p) <= p.high, u, p),
  stochastic_spike: (g, z, u, p) => (z > 0 ? g : g * (u * p.variance + (p.mean - 0.5) * p.variance)),
};

// Transforms of the incoming gradient, a matrix of samples (rows) by units.

/** Parts of a matrix that are reduced together: each row, or the whole. */
function parts(matrix, columns, per) {
  const length = per === "sample" ? columns : matrix.length;
  return Array.from({ length: matrix.length / length }, (_, i) => matrix.subarray(i * length, (i + 1) * length));
}

const norm = (values) => sqrt(values.reduce((sum, value) => sum + value * value, 0));
const rms = (values) => norm(values) / sqrt(values.length);
const orOne = (value) => (value === 0 ? 1 : value);

/** Normal numbers by Box and Muller: draws 0 and 1 of the call give radius and angle. */
function normals(count, draw) {
  const [radius, angle] = [draw(0), draw(1)];
  return radius.map((u, i) => sqrt(-2 * Math.log1p(-u)) * Math.cos(2 * PI * angle[i]));
}

function eachPart(feedback, columns, per, change) {
  const sent = new Float64Array(feedback.length);
  const targets = parts(sent, columns, per);
  parts(feedback, columns, per).forEach((part, i) => targets[i].set(change(part)));
  return sent;
}

function rotate(feedback, columns, { degrees }, draw) {
  const noise = parts(normals(feedback.length, draw), columns, "sample");
  const angle = (degrees / 180) * PI;
  let row = 0;
  return eachPart(feedback, columns, "sample", (g) => {
    const size = rms(g);
    const along = g.map((value) => value / orOne(size));
    const raw = noise[row++];
    const shared = raw.reduce((sum, value, i) => sum + value * along[i], 0) / columns;
    const aside = raw.map((value, i) => value - along[i] * shared);
    const length = rms(aside);
    return g.map((value, i) => value * Math.cos(angle) + size * (aside[i] / length) * Math.sin(angle));
  });
}

const TRANSFORMS = {
  centralize: (g, columns, { dim }) => {
    // Dimension 0 are the samples, 1 and -1 the units; -2 is 0 again.
    if (dim === 1 || dim === -1) {
      return eachPart(g, columns, "sample", (row) => {
        const mean = row.reduce((sum, value) => sum + value, 0) / columns;
        return row.map((value) => value - mean);
      });
    }
    const means = new Float64Array(columns);
    g.forEach((value, i) => (means[i % columns] += (value * columns) / g.length));
    return g.map((value, i) => value - means[i % columns]);
  },
  clip: (g, columns, { value }) => g.map((one) => clamp(one, -value, value)),
  clip_norm: (g, columns, p) => {
    const size = norm(g);
    return size > p.max_norm ? g.map((value) => value * (p.max_norm / size)) : g;
  },
  drop: (g, columns, { p }, draw) => {
    const u = draw(0);
    return g.map((value, i) => (u[i] < p ? 0 : value / (1 - p)));
  },
  flip: (g, columns, { p }, draw) => {
    const u = draw(0);
    return g.map((value, i) => (u[i] < p ? -value : value));
  },
  noise: (g, columns, { sigma }, draw) => {
    const numbers = normals(g.length, draw);
    return g.map((value, i) => value + sigma * numbers[i]);
  },
  normalize: (g, columns, { per }) =>
    eachPart(g, columns, per, (part) => {
      const size = orOne(rms(part));
      return part.map((value) => value / size);
    }),
  quantize: (g, columns, { bits }) => {
    const largest = orOne(g.reduce((most, value) => Math.max(most, abs(value)), 0));
    const steps = 2 ** (bits - 1) - 1;
    return g.map((value) => (round((value / largest) * steps) / steps) * largest);
  },
  rotate,
  scale: (g, columns, { factor }) => g.map((value) => value * factor),
  sign: (g, columns, p) => {
    if (p.norm === "none") return g.map(Math.sign);
    return eachPart(g, columns, p.norm, (part) => {
      const signs = part.map(Math.sign);
      const size = rms(part) / orOne(rms(signs));
      return signs.map((value) => value * size);
    });
  },
};

export const draws = (rule) => rule.some(({ name }) => CATALOGUE.rules[name].draws);

/** Multiplier of one rule beside a forward, as a function of (z, y); `null` if the rule is no fixed multiplier. */
function slopeOf({ name, values }, forward) {
  if (name === "tied") return FORWARDS[forward].slope;
  if (SLOPES[name]) return (z) => SLOPES[name](z, values);
  const levels = CATALOGUE.rules[name].levels?.[values.bits ?? values.where ?? ""]?.[forward];
  return levels ? (z) => levelsAt(z, levels) : null;
}

/** Multiplier of a chain as a function of (z, y); `null` if a part of it is random, or no multiplier. */
export function slopeOfChain(rule, forward) {
  const slopes = rule.map((part) => slopeOf(part, forward));
  return slopes.includes(null) ? null : (z, y) => slopes.reduce((product, slope) => product * slope(z, y), 1);
}

/**
 * Gradient that a chain of rules passes down.
 *
 * @param rule Parts of the chain, as `parseRule` gives them.
 * @param feedback, z, y Incoming gradient, input and output of the activation: matrices of samples by units.
 * @param key Key of the call, if a part draws.
 */
export function send(rule, forward, feedback, z, y, columns, key) {
  return rule.reduce((g, part, stream) => {
    const draw = (number) => uniforms(g.length, key, stream, number);
    const slope = slopeOf(part, forward);
    if (slope) {
      return g.map((value, i) => {
        const multiplier = slope(z[i], y[i]);
        return multiplier === 0 ? 0 : value * multiplier; // exact zeros, whatever arrives
      });
    }
    if (TRANSFORMS[part.name]) return TRANSFORMS[part.name](g, columns, part.values, draw);
    const u = draw(0);
    return g.map((value, i) => JAMS[part.name](value, z[i], u[i], part.values));
  }, feedback);
}

/** Refusal of a pair in words; empty if the rule goes with the forward. */
export function refusal(rule, forward) {
  for (const part of rule) {
    const { name, values } = part;
    const { levels } = CATALOGUE.rules[name];
    if (levels && !levels[values.bits ?? values.where ?? ""]?.[forward]) {
      return `${formatRule([part])} follows the derivative of a forward, and has nothing to follow beside ${forward}.`;
    }
    if (name === "tied" && !FORWARDS[forward].slope) {
      return `The derivative of ${forward} is 0 almost everywhere: tied would send nothing. The library refuses it.`;
    }
  }
  return "";
}
