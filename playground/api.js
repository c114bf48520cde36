// What tests and the curious reach from the browser's console: `playground`.

import { CATALOGUE } from "./catalogue.js";
import { Experiment } from "./experiment.js";
import { FORWARDS } from "./forwards.js";
import { erf } from "./functions.js";
import { cosine, makeNetwork, referenceGradients, untiedPass } from "./network.js";
import { shares } from "./page.js";
import { PRESETS } from "./presets.js";
import { pythonOf } from "./python.js";
import { Generator, philox, uniforms } from "./random.js";
import { refusal, send } from "./rules.js";
import { DEFAULTS, readSettings, writeSettings } from "./settings.js";
import { formatRule, parseRule } from "./specs.js";

globalThis.playground = {
  ...{ CATALOGUE, DEFAULTS, FORWARDS, PRESETS, Experiment, Generator },
  ...{ cosine, erf, formatRule, makeNetwork, parseRule, philox, pythonOf, readSettings, referenceGradients, refusal, send },
  ...{ shares, uniforms, untiedPass, writeSettings },
};
