// Optimisers with PyTorch's defaults. Each is a function (network, gradients) that keeps its own state.

const eachTensor = (network, gradients, change) =>
  network.forEach((layer, i) => {
    for (const name of ["weight", "bias"]) change(layer[name], gradients[i][name], `${i}.${name}`);
  });

function sgd(rate, momentum = 0) {
  const buffers = {};
  return (network, gradients) =>
    eachTensor(network, gradients, (tensor, gradient, name) => {
      if (momentum) {
        const before = buffers[name];
        buffers[name] = before ? before.map((value, i) => momentum * value + gradient[i]) : gradient.slice();
      }
      const step = momentum ? buffers[name] : gradient;
      for (let i = 0; i < tensor.length; i++) tensor[i] -= rate * step[i];
    });
}

function adam(rate, [beta1, beta2] = [0.9, 0.999], epsilon = 1e-8) {
  const states = {};
  let steps = 0;
  return (network, gradients) => {
    steps++;
    const [correction1, correction2] = [1 - beta1 ** steps, Math.sqrt(1 - beta2 ** steps)];
    eachTensor(network, gradients, (tensor, gradient, name) => {
      const { mean, square } = (states[name] ??= {
        mean: new Float64Array(tensor.length),
        square: new Float64Array(tensor.length),
      });
      for (let i = 0; i < tensor.length; i++) {
        mean[i] += (1 - beta1) * (gradient[i] - mean[i]);
        square[i] = beta2 * square[i] + (1 - beta2) * gradient[i] * gradient[i];
        tensor[i] -= ((rate / correction1) * mean[i]) / (Math.sqrt(square[i]) / correction2 + epsilon);
      }
    });
  };
}

export const OPTIMISERS = {
  adam: { title: "Adam", make: adam, python: (rate) => `torch.optim.Adam(net.parameters(), lr=${rate})` },
  momentum: {
    title: "Momentum 0.9",
    make: (rate) => sgd(rate, 0.9),
    python: (rate) => `torch.optim.SGD(net.parameters(), lr=${rate}, momentum=0.9)`,
  },
  sgd: { title: "SGD", make: (rate) => sgd(rate), python: (rate) => `torch.optim.SGD(net.parameters(), lr=${rate})` },
};
