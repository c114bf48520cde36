// Points in the plane with two classes. The same formulas stand in Python in `python.js`: the points are the same.

export const COUNT = 200;

const jitter = (u, noise) => (2 * u - 1) * noise;

/** Place of a point by its class and two random numbers, before noise. */
const PLACES = {
  ring: (label, [u, v]) => {
    const [angle, radius] = [2 * Math.PI * u, label ? 0.9 : 0.5 * Math.sqrt(v)];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  spirals: (label, [u]) => {
    const [angle, radius] = [2.5 * Math.PI * Math.sqrt(u) + Math.PI * label, 0.1 + 0.9 * Math.sqrt(u)];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  xor: (label, [u, v]) => {
    const x = 2 * u - 1;
    return [x, (label ? 1 : -1) * Math.sign(x) * v];
  },
  moons: (label, [u]) => {
    const angle = Math.PI * u;
    const [x, y] = label ? [1 - Math.cos(angle), 0.5 - Math.sin(angle)] : [Math.cos(angle), Math.sin(angle)];
    return [0.7 * (x - 0.5), 0.7 * (y - 0.25)];
  },
};

export const DATA = Object.keys(PLACES);

/** Points, x and y in turn, and their classes, 0 and 1 in turn. */
export function makeData(kind, noise, generator) {
  const points = new Float64Array(2 * COUNT);
  const labels = new Float64Array(COUNT);
  for (let i = 0; i < COUNT; i++) {
    const u = Array.from({ length: 4 }, () => generator.uniform());
    labels[i] = i % 2;
    const [x, y] = PLACES[kind](labels[i], u);
    points.set([x + jitter(u[2], noise), y + jitter(u[3], noise)], 2 * i);
  }
  return { points, labels };
}
