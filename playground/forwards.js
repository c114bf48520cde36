// Forwards: z -> y, with the derivative that the rule `tied` sends, or, of a flat one, the places of its steps.

import { clamp, density, erf, logistic, normal, round } from "./functions.js";

const between = (low, high, slope = 1) => (z) => (z > low && z < high ? slope : 0);

/** Steps of equal height at `first`, `first + distance`, ..., from `low` to `high`. */
function evenly(first, distance, height) {
  return (low, high) => {
    const found = [];
    for (let k = Math.ceil((low - first) / distance); first + k * distance <= high; k++) {
      found.push([first + k * distance, typeof height === "function" ? height(k) : height]);
    }
    return found;
  };
}

/** A list of steps, each with its place and height. */
const at = (...steps) => () => steps;
const among = (count, place, height) => at(...Array.from({ length: count }, (_, i) => [place(i), height]));

export const FORWARDS = {
  "abs": { value: Math.abs, slope: (z) => (z < 0 ? -1 : 1) },
  "ceil": { value: Math.ceil, steps: evenly(0, 1, 1) },
  "clamp(0, 1)": { value: (z) => clamp(z, 0, 1), slope: (z) => (z >= 0 && z <= 1 ? 1 : 0) },
  "elu": { value: (z) => (z > 0 ? z : Math.expm1(z)), slope: (z, y) => (y > 0 ? 1 : y + 1) },
  "floor": { value: Math.floor, steps: evenly(0, 1, 1) },
  "gelu": {
    value: (z) => z * normal(z),
    slope: (z) => 0.5 * (1 + erf(z * Math.SQRT1_2)) + z * density(z),
  },
  "hard_sigmoid": { value: (z) => clamp(z + 3, 0, 6) / 6, slope: between(-3, 3, 1 / 6) },
  "hard_tanh": { value: (z) => clamp(z, -1, 1), slope: between(-1, 1) },
  "heaviside": { value: (z) => (z > 0 ? 1 : 0), steps: at([0, 1]) },
  "leaky_relu": { value: (z) => (z > 0 ? z : 0.01 * z), slope: (z) => (z > 0 ? 1 : 0.01) },
  "linear": { value: (z) => z, slope: () => 1 },
  "logistic": { value: logistic, slope: (z, y) => y * (1 - y) },
  "quantize(0.5)": { value: (z) => round(z / 0.5) * 0.5, steps: evenly(0.25, 0.5, 0.5) },
  "relu": { value: (z) => (z > 0 ? z : 0), slope: (z) => (z > 0 ? 1 : 0) },
  "relu6": { value: (z) => clamp(z, 0, 6), slope: between(0, 6) },
  "round": { value: round, steps: evenly(0.5, 1, 1) },
  "round_to_zero": {
    value: Math.trunc,
    steps: (low, high) => evenly(0, 1, 1)(low, high).filter(([place]) => place !== 0),
  },
  "sawtooth": { value: (z) => 2 * (z / 2 - Math.floor(z / 2 + 0.5)), slope: () => 1 },
  "sign": { value: (z) => (z >= 0 ? 1 : -1), steps: at([0, 2]) },
  "signed_staircase(2)": {
    value: (z) => round(2 * clamp(z, -1, 1)) / 2,
    steps: among(4, (i) => -0.75 + 0.5 * i, 0.5),
  },
  "silu": {
    value: (z) => z * logistic(z),
    slope: (z) => logistic(z) * (1 + z * (1 - logistic(z))),
  },
  "softplus": {
    value: (z) => (z > 20 ? z : Math.log1p(Math.exp(z))),
    slope: (z, y) => -Math.expm1(-y),
  },
  "spike_count(4)": { value: (z) => round(clamp(z, 0, 4)), steps: among(4, (i) => i + 0.5, 1) },
  "square_wave": {
    value: (z) => (z / 2 - Math.floor(z / 2) < 0.5 ? 1 : -1),
    steps: evenly(0, 1, (k) => (k % 2 === 0 ? 2 : -2)),
  },
  "staircase(4)": { value: (z) => round(clamp(z, 0, 1) * 3) / 3, steps: among(3, (i) => (i + 0.5) / 3, 1 / 3) },
  "tanh": { value: Math.tanh, slope: (z, y) => 1 - y * y },
  "ternary": {
    value: (z) => (z < -0.5 ? -1 : z > 0.5 ? 1 : 0),
    steps: at([-0.5, 1], [0.5, 1]),
  },
};

export const isFlat = (forward) => FORWARDS[forward].slope === undefined;

const FAR = 8; // sigmas from which on a step changes nothing

/**
 * A flat forward under normal noise, `E[forward(z + sigma N(0, 1))]`, with its own derivative: what the gradient of a
 * flat forward is compared with, as in `tl.alignment(..., reference="smoothed")`.
 */
export function smoothed(forward, z, sigma) {
  const { value, steps } = FORWARDS[forward];
  let [least, most] = [Infinity, -Infinity];
  for (const one of z) [least, most] = [Math.min(least, one), Math.max(most, one)];
  const low = least - FAR * sigma;
  const found = steps(low, most + FAR * sigma);
  const base = value(low);
  return {
    value: (one) => found.reduce((sum, [place, height]) => sum + height * normal((one - place) / sigma), base),
    slope: (one) => found.reduce((sum, [place, height]) => sum + (height * density((one - place) / sigma)) / sigma, 0),
  };
}
