// Rules as text, in the library's own spelling: `rectangular(-0.5, 0.5) >> noise(0.001)`. A rule is a list of parts.

import { CATALOGUE } from "./catalogue.js";

const positive = (...names) => [(p) => names.every((name) => p[name] >= 1e-30 && p[name] <= 1e30), `${names.join(" and ")} > 0`];
const ordered = (low, high) => [(p) => p[low] < p[high], `${low} < ${high}`];
const within = (name, low, high) => [(p) => p[name] >= low && p[name] <= high, `${name} from ${low} to ${high}`];
const scaled = positive("width", "height");

/** Domains of parameters; the library refuses what lies outside of them. */
const DOMAINS = {
  atan: [scaled],
  centralize: [within("dim", -2, 1)],
  circ: [scaled],
  clip: [positive("value")],
  clip_norm: [positive("max_norm")],
  drop: [[({ p }) => p >= 0 && p < 1, "p from 0 to below 1"]],
  erf: [scaled],
  fake_numerical_gradient: [scaled],
  fast_sigmoid: [scaled],
  few_bit: [within("bits", 1, 4)],
  flip: [within("p", 0, 1)],
  full_jam: [ordered("minimum", "maximum")],
  log_tailed_relu: [scaled],
  noise: [[(p) => p.sigma >= 0, "sigma >= 0"]],
  piecewise_exp: [scaled],
  piecewise_leaky_relu: [positive("width")],
  positive_jam: [ordered("minimum", "maximum")],
  q_pseudo_spike: [scaled, within("power", 1e-3, 1e3)],
  quantize: [within("bits", 2, 16)],
  rectangular: [ordered("low", "high")],
  rectangular_jam: [ordered("low", "high"), ordered("minimum", "maximum")],
  rotate: [within("degrees", 0, 180)],
  s2nn: [positive("width", "height", "left")],
  sigmoid: [scaled],
  sign_log_abs: [scaled],
  sparse_fast_sigmoid: [scaled, [(p) => p.bound > 0 || p.part === "above", 'bound > 0, or part="above"']],
  square_wave_series: [scaled, within("terms", 1, 1000)],
  stochastic_spike: [within("mean", -1e6, 1e6), positive("variance")],
  swish_sign: [scaled],
  triangular: [scaled],
};

const LARGEST = 1e30;
const MOST_PARTS = 2;

/** Complaint about the parameters of one part, in words; empty if there is none. */
export function complaint({ name, values }) {
  for (const { name: parameter, kind, choices } of CATALOGUE.rules[name].parameters) {
    const value = values[parameter];
    if (choices && !choices.includes(value)) return `${name} needs ${parameter} to be one of ${choices.join(", ")}.`;
    if (!choices && !(Math.abs(value) <= LARGEST)) return `${name} needs a number for ${parameter}.`;
    if (kind === "int" && !Number.isInteger(value)) return `${name} needs a whole number for ${parameter}.`;
  }
  for (const [holds, words] of DOMAINS[name] ?? []) if (!holds(values)) return `${name} needs ${words}.`;
  return "";
}

/** One part with the values that the page proposes. */
export function partOf(name) {
  const { parameters } = CATALOGUE.rules[name];
  return { name, values: Object.fromEntries(parameters.map((parameter) => [parameter.name, parameter.proposed])) };
}

const written = (value) => (typeof value === "string" ? `"${value}"` : String(value));

/** Text of a rule: what the library reads as the same rule. */
export function formatRule(rule) {
  const one = ({ name, values }) => {
    const { parameters } = CATALOGUE.rules[name];
    const plain = parameters.filter(({ option }) => !option).map((parameter) => written(values[parameter.name]));
    const options = parameters.filter((parameter) => parameter.option && values[parameter.name] !== parameter.default);
    const all = [...plain, ...options.map((parameter) => `${parameter.name}=${written(values[parameter.name])}`)];
    return all.length ? `${name}(${all.join(", ")})` : name;
  };
  return rule.map(one).join(" >> ");
}

function parsePart(text) {
  const [, name, given = ""] = /^\s*(\w+)\s*(?:\((.*)\))?\s*$/.exec(text) ?? [];
  const known = Object.hasOwn(CATALOGUE.rules, name ?? "");
  if (!known) throw new Error(`There is no rule ${text.trim()} here.`);
  const { parameters } = CATALOGUE.rules[name];
  const values = {};
  for (const { name: parameter, default: value } of parameters) if (value !== null) values[parameter] = value;
  given.split(",").filter((one) => one.trim()).forEach((one, i) => {
    const [, key = parameters[i]?.name, value] = /^\s*(?:(\w+)\s*=)?\s*(.*?)\s*$/.exec(one);
    if (!parameters.some((parameter) => parameter.name === key)) throw new Error(`${name} has no parameter for ${one.trim()}.`);
    values[key] = /^".*"$/.test(value) ? value.slice(1, -1) : value === "" ? NaN : Number(value);
  });
  const wrong = complaint({ name, values });
  if (wrong) throw new Error(wrong);
  return { name, values };
}

/** Parts of a rule's text. Throws an Error whose message is for the reader if the text is no rule of this page. */
export function parseRule(text) {
  const rule = text.split(">>").map(parsePart);
  if (rule.length > MOST_PARTS) throw new Error(`A chain has at most ${MOST_PARTS} rules here, got ${rule.length}.`);
  return rule;
}
