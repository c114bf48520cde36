// Everything that a reader can choose. It fits into a link, `#data=ring&rule=constant(1)`, and comes back from one.

import { CATALOGUE } from "./catalogue.js";
import { DATA } from "./data.js";
import { OPTIMISERS } from "./optimisers.js";
import { refusal } from "./rules.js";
import { formatRule, parseRule } from "./specs.js";

export const DEPTHS = [1, 2, 3, 4];
export const WIDTHS = [2, 4, 8, 16, 32];

export const DEFAULTS = {
  data: "ring",
  noise: 0.1,
  depth: 2,
  width: 8,
  forward: "heaviside",
  rule: "rectangular(-0.5, 0.5)",
  optimiser: "adam",
  rate: 0.03,
  seed: 0,
};

const oneOf = (choices) => (text) => {
  const found = choices.find((choice) => String(choice) === text);
  if (found === undefined) throw new Error(`expected one of ${choices.join(", ")}`);
  return found;
};

const numberFrom = (low, high, whole = false) => (text) => {
  const value = text.trim() === "" ? NaN : Number(text);
  if (!(value >= low && value <= high) || (whole && !Number.isInteger(value))) {
    throw new Error(`expected a ${whole ? "whole " : ""}number from ${low} to ${high}`);
  }
  return value;
};

/** Reader of each setting: the value of a text, or an Error in words. */
export const READERS = {
  data: oneOf(DATA),
  noise: numberFrom(0, 1),
  depth: oneOf(DEPTHS),
  width: oneOf(WIDTHS),
  forward: oneOf(CATALOGUE.forwards.map(({ spec }) => spec)),
  rule: (text) => formatRule(parseRule(text)),
  optimiser: oneOf(Object.keys(OPTIMISERS)),
  rate: numberFrom(1e-6, 100),
  seed: numberFrom(0, 2 ** 31 - 1, true),
};

/** Settings of a link's hash, and complaints in words about what could not be read; for that the defaults stand. */
export function readSettings(hash) {
  const settings = { ...DEFAULTS };
  const complaints = [];
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (!Object.hasOwn(READERS, name)) {
      complaints.push(`The link has an unknown setting, ${name}.`);
      continue;
    }
    try {
      settings[name] = READERS[name](text);
    } catch (error) {
      complaints.push(`The link's ${name} is ${text}: ${error.message}`);
    }
  }
  const refused = refusal(parseRule(settings.rule), settings.forward);
  if (refused) {
    complaints.push(refused);
    Object.assign(settings, { forward: DEFAULTS.forward, rule: DEFAULTS.rule });
  }
  return { settings, complaints };
}

/** Hash that leads to these settings. */
export const writeSettings = (settings) =>
  `#${new URLSearchParams(Object.keys(DEFAULTS).map((name) => [name, String(settings[name])]))}`;

