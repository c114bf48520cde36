// A network of linear layers with one activation between each two, and its two passes. All numbers are float64.

import { FORWARDS, isFlat, smoothed } from "./forwards.js";
import { logistic } from "./functions.js";
import { draws, send } from "./rules.js";

/** Linear layers from 2 inputs through hidden layers to 1 output, as `torch.nn.Linear` makes them. */
export function makeNetwork(depth, width, generator) {
  const sizes = [2, ...Array(depth).fill(width), 1];
  return sizes.slice(1).map((outputs, i) => {
    const inputs = sizes[i];
    const gain = Math.sqrt(2 / (1 + Math.sqrt(5) ** 2));
    const bounds = [Math.sqrt(3) * (gain / Math.sqrt(inputs)), 1 / Math.sqrt(inputs)];
    const [weight, bias] = [inputs * outputs, outputs].map((count, which) =>
      Float64Array.from({ length: count }, () => generator.uniform() * 2 * bounds[which] - bounds[which]),
    );
    return { inputs, outputs, weight, bias };
  });
}

export const copyNetwork = (network) =>
  network.map((layer) => ({ ...layer, weight: layer.weight.slice(), bias: layer.bias.slice() }));

function linear({ inputs, outputs, weight, bias }, x) {
  const count = x.length / inputs;
  const z = new Float64Array(count * outputs);
  for (let n = 0; n < count; n++) {
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x[n * inputs + i];
      z[n * outputs + o] = sum;
    }
  }
  return z;
}

/**
 * Forward pass: input x, pre-activation z and output y of each hidden layer, and the logits.
 *
 * @param halves For each hidden layer an object with `value(z)`.
 */
export function forwardPass(network, halves, points) {
  let x = points;
  const layers = halves.map((half, i) => {
    const z = linear(network[i], x);
    const layer = { x, z, y: z.map((one) => half.value(one)) };
    x = layer.y;
    return layer;
  });
  return { layers, last: x, logits: linear(network.at(-1), x) };
}

/** Mean binary cross-entropy of logits. */
export function lossOf(logits, labels) {
  let sum = 0;
  logits.forEach((x, i) => (sum += Math.max(x, 0) - x * labels[i] + Math.log1p(Math.exp(-Math.abs(x)))));
  return sum / logits.length;
}

/** Gradients of a linear layer's weight and bias, and of its input. */
function linearBackward({ inputs, outputs, weight, bias }, x, g, below) {
  const gradient = { weight: new Float64Array(weight.length), bias: new Float64Array(bias.length) };
  const input = below ? new Float64Array(x.length) : null;
  for (let n = 0; n < g.length / outputs; n++) {
    for (let o = 0; o < outputs; o++) {
      const one = g[n * outputs + o];
      if (one === 0) continue;
      gradient.bias[o] += one;
      for (let i = 0; i < inputs; i++) {
        gradient.weight[o * inputs + i] += one * x[n * inputs + i];
        if (below) input[n * inputs + i] += one * weight[o * inputs + i];
      }
    }
  }
  return { gradient, input };
}

/**
 * Backward pass: a gradient for each layer, and what arrived at and left each activation.
 *
 * @param sendDown Function of (hidden layer's number, incoming gradient, its z, its y) to the gradient passed down.
 */
export function backwardPass(network, pass, labels, sendDown) {
  const gradients = Array(network.length);
  const sent = Array(pass.layers.length);
  let g = pass.logits.map((x, i) => (logistic(x) - labels[i]) / labels.length);
  for (let i = network.length - 1; i >= 0; i--) {
    const { gradient, input } = linearBackward(network[i], i < pass.layers.length ? pass.layers[i].x : pass.last, g, i > 0);
    gradients[i] = gradient;
    if (i === 0) break;
    const { z, y } = pass.layers[i - 1];
    g = sendDown(i - 1, input, z, y);
    sent[i - 1] = { arrived: input, left: g };
  }
  return { gradients, sent };
}

/** One forward and backward pass of an untied network; a key is drawn for each activation if the rule draws. */
export function untiedPass(network, forward, rule, { points, labels }, generator) {
  const halves = Array(network.length - 1).fill(FORWARDS[forward]);
  const pass = forwardPass(network, halves, points);
  const keys = halves.map(() => (draws(rule) ? generator.key() : null));
  const backward = backwardPass(network, pass, labels, (i, g, z, y) =>
    send(rule, forward, g, z, y, network[i].outputs, keys[i]),
  );
  return { ...pass, ...backward, loss: lossOf(pass.logits, labels) };
}

/** Standard deviation. */
function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/**
 * Gradients of calculus at a network's weights, or, of flat forwards, those of the network in which each is smoothed by
 * noise of half the standard deviation of its z. `null` if a z does not vary, so that there is nothing to smooth by.
 */
export function referenceGradients(network, forward, { layers }, { points, labels }) {
  const sigmas = layers.map(({ z }) => 0.5 * spread(z));
  if (isFlat(forward) && !sigmas.every((sigma) => sigma > 0 && sigma < Infinity)) return null;
  const halves = layers.map(({ z }, i) => (isFlat(forward) ? smoothed(forward, z, sigmas[i]) : FORWARDS[forward]));
  const pass = forwardPass(network, halves, points);
  const down = (i, g, z, y) => g.map((value, at) => value * halves[i].slope(z[at], y[at]));
  return backwardPass(network, pass, labels, down).gradients;
}

/** Cosine of two gradients of one layer, weight and bias together; NaN if one of them is 0. */
export function cosine(one, other) {
  let [both, mine, theirs] = [0, 0, 0];
  for (const name of ["weight", "bias"]) {
    one[name].forEach((value, i) => {
      both += value * other[name][i];
      mine += value * value;
      theirs += other[name][i] ** 2;
    });
  }
  return both / Math.sqrt(mine) / Math.sqrt(theirs);
}

/** Share of points on the right side. */
export const accuracyOf = (logits, labels) =>
  logits.reduce((right, x, i) => right + (x > 0 === labels[i] > 0), 0) / logits.length;
