// Functions that JavaScript's Math lacks.

/** Nearest whole number; halves go to the even one, as in PyTorch. */
export function round(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest < 0.5) return below;
  return rest > 0.5 || below % 2 !== 0 ? below + 1 : below;
}

export const clamp = (x, low, high) => (x < low ? low : x > high ? high : x);

export const logistic = (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));

const polynomial = (x, coefficients) => coefficients.reduceRight((sum, coefficient) => sum * x + coefficient, 0);

// The rational approximations of FreeBSD's s_erf.c (Sun Microsystems, 1993: freely used, copied and distributed).
const PP = [1.28379167095512558561e-1, -3.25042107247001499370e-1, -2.84817495755985104766e-2, -5.77027029648944159157e-3,
  -2.37630166566501626084e-5];
const QQ = [1, 3.97917223959155352819e-1, 6.50222499887672944485e-2, 5.08130628187576562776e-3, 1.32494738004321644526e-4,
  -3.96022827877536812320e-6];
const PA = [-2.36211856075265944077e-3, 4.14856118683748331666e-1, -3.72207876035701323847e-1, 3.18346619901161753674e-1,
  -1.10894694282396677476e-1, 3.54783043256182359371e-2, -2.16637559486879084300e-3];
const QA = [1, 1.06420880400844228286e-1, 5.40397917702171048937e-1, 7.18286544141962662868e-2, 1.26171219808761642112e-1,
  1.36370839120290507362e-2, 1.19844998467991074170e-2];
const RA = [-9.86494403484714822705e-3, -6.93858572707181764372e-1, -1.05586262253232909814e1, -6.23753324503260060396e1,
  -1.62396669462573470355e2, -1.84605092906711035994e2, -8.12874355063065934246e1, -9.81432934416914548592];
const SA = [1, 1.96512716674392571292e1, 1.37657754143519042600e2, 4.34565877475229228821e2, 6.45387271733267880336e2,
  4.29008140027567833386e2, 1.08635005541779435134e2, 6.57024977031928170135, -6.04244152148580987438e-2];
const RB = [-9.86494292470009928597e-3, -7.99283237680523006574e-1, -1.77579549177547519889e1, -1.60636384855821916062e2,
  -6.37566443368389627722e2, -1.02509513161107724954e3, -4.83519191608651397019e2];
const SB = [1, 3.03380607434824582924e1, 3.25792512996573918826e2, 1.53672958608443695994e3, 3.19985821950859553908e3,
  2.55305040643316442583e3, 4.74528541206955367215e2, -2.24409524465858183362e1];

/** Error function, to the last digit or the one before it. */
export function erf(x) {
  const size = Math.abs(x);
  if (size < 0.84375) return x + x * (polynomial(x * x, PP) / polynomial(x * x, QQ));
  if (!(size < 6)) return Number.isNaN(x) ? x : Math.sign(x);
  if (size < 1.25) return Math.sign(x) * (0.845062911510467529297 + polynomial(size - 1, PA) / polynomial(size - 1, QA));
  const [s, near] = [1 / (size * size), size < 1 / 0.35];
  const ratio = near ? polynomial(s, RA) / polynomial(s, SA) : polynomial(s, RB) / polynomial(s, SB);
  const short = Math.fround(size); // its square is exact
  const tail = Math.exp(-short * short - 0.5625) * Math.exp((short - size) * (short + size) + ratio);
  return Math.sign(x) * (1 - tail / size);
}

/** Normal distribution function. */
export const normal = (x) => 0.5 * (1 + erf(x * Math.SQRT1_2));

/** Density of the normal distribution. */
export const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
