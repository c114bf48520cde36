// Three networks that start alike: one learns by the chosen rule, one by calculus, in one the hidden layers stay.

import { makeData } from "./data.js";
import { isFlat } from "./forwards.js";
import { accuracyOf, copyNetwork, cosine, makeNetwork, referenceGradients, untiedPass } from "./network.js";
import { OPTIMISERS } from "./optimisers.js";
import { Generator } from "./random.js";
import { parseRule } from "./specs.js";

/** One network in training: its loss before each step, and its latest pass. */
class Run {
  constructor(network, forward, rule, { optimiser, rate }) {
    Object.assign(this, { network, forward, rule, losses: [], pass: null, lost: false });
    this.improve = OPTIMISERS[optimiser].make(rate);
  }

  step(data, generator) {
    if (this.lost) return;
    this.pass = untiedPass(this.network, this.forward, this.rule, data, generator);
    this.losses.push(this.pass.loss);
    this.accuracy = accuracyOf(this.pass.logits, data.labels);
    this.lost = !Number.isFinite(this.pass.loss);
    if (!this.lost) this.improve(this.network, this.pass.gradients);
  }
}

export class Experiment {
  constructor(settings) {
    this.settings = settings;
    this.rule = parseRule(settings.rule);
    this.generator = new Generator(settings.seed);
    this.data = makeData(settings.data, settings.noise, this.generator);
    const network = makeNetwork(settings.depth, settings.width, this.generator);
    const run = (rule) => new Run(copyNetwork(network), settings.forward, rule, settings);
    this.chosen = run(this.rule);
    this.frozen = run(parseRule("frozen"));
    // The derivative of a flat forward is 0, which is the rule `frozen`.
    this.tied = isFlat(settings.forward) ? this.frozen : run(parseRule("tied"));
    this.cosines = [];
    this.steps = 0;
  }

  runs() {
    return [...new Set([this.chosen, this.tied, this.frozen])];
  }

  step() {
    for (const run of this.runs()) {
      const before = run === this.chosen ? copyNetwork(run.network) : null;
      run.step(this.data, this.generator);
      if (before) this.before = before;
    }
    this.steps++;
  }

  /** Cosine of each layer's latest gradient with that of calculus, at the weights of the chosen network. */
  measure() {
    const { pass } = this.chosen;
    const reference = referenceGradients(this.before, this.settings.forward, pass, this.data);
    const cosines = pass.gradients.map((gradient, i) => (reference ? cosine(gradient, reference[i]) : NaN));
    this.cosines.push({ step: this.steps, cosines });
    return cosines;
  }
}
