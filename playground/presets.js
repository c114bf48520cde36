// Settings that show one thing each, within 400 steps. Each was tried with the seeds 0 to 9, and showed it with all of them.

export const PRESETS = [
  {
    name: "window",
    title: "A step learns through a window",
    sentence: "The derivative of a step is 0, so calculus trains nothing below it. A window in its place does.",
    look: "The loss of the rule falls; the derivative's line is the frozen one, for it sends nothing.",
    settings: { forward: "heaviside", rule: "rectangular(-0.5, 0.5)", data: "ring", depth: 2, rate: 0.03 },
  },
  {
    name: "ungated",
    title: "A constant hurts ReLU",
    sentence: "The constant 1 trains units that are switched off, as if they were on. The network falls behind the derivative's.",
    look: "The rule's loss stays above the derivative's, and its cosines are far below 1.",
    settings: { forward: "relu", rule: "constant(1)", data: "ring", depth: 2, optimiser: "momentum", rate: 0.1 },
  },
  {
    name: "gated",
    title: "Gated random numbers do not",
    sentence: "Random multipliers that are 0 where the derivative is 0 train ReLU nearly as well as the derivative.",
    look: "The multipliers are dots anywhere from 0 to 1, and yet both losses fall together.",
    settings: { forward: "relu", rule: "full_jam >> gated", data: "ring", depth: 2, optimiser: "momentum", rate: 0.1 },
  },
  {
    name: "saturates",
    title: "Logistic saturates under a jam",
    sentence: "Random multipliers without a gate push z outwards, into the flat ends of the logistic function.",
    look: "The histograms of z spread to the sides, more and more z are saturated, and the loss stays above the derivative's.",
    settings: { forward: "logistic", rule: "full_jam", data: "ring", depth: 2, optimiser: "momentum", rate: 1 },
  },
];
