// The same experiment as a program in Python: the same points, weights, keys, and so the same losses.

import { COUNT } from "./data.js";
import { OPTIMISERS } from "./optimisers.js";

const PYTHON_PLACES = {
  ring: `angle = 2 * torch.pi * u[:, 0]
radius = torch.where(label > 0, 0.9, 0.5 * u[:, 1].sqrt())
points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)`,
  spirals: `angle = 2.5 * torch.pi * u[:, 0].sqrt() + torch.pi * label
radius = 0.1 + 0.9 * u[:, 0].sqrt()
points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)`,
  xor: `x = 2 * u[:, 0] - 1
points = torch.stack([x, (2 * label - 1) * x.sign() * u[:, 1]], dim=1)`,
  moons: `angle = torch.pi * u[:, 0]
upper = torch.stack([angle.cos(), angle.sin()], dim=1)
lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
points = 0.7 * (torch.where(label[:, None] > 0, lower, upper) - torch.tensor([0.5, 0.25]))`,
};

/** Program that trains the network of these settings for a number of steps, and keeps the loss before each. */
export function pythonOf({ data, noise, depth, width, forward, rule, optimiser, rate, seed }, steps) {
  const layers = Array.from({ length: depth }, (_, i) => [
    `    torch.nn.Linear(${i ? width : 2}, ${width}),`,
    `    tl.Activation(${JSON.stringify(forward)}, ${rule.includes('"') ? `'${rule}'` : `"${rule}"`}),`,
  ]).flat();
  return `import torch
import tieless as tl

torch.set_default_dtype(torch.float64)
torch.manual_seed(${seed})

# ${data}: ${COUNT} points in the plane, of two classes
u = torch.rand(${COUNT}, 4)
label = torch.arange(${COUNT}) % 2.0
${PYTHON_PLACES[data]}
points = points + ${noise} * (2 * u[:, 2:] - 1)

net = torch.nn.Sequential(
${layers.join("\n")}
    torch.nn.Linear(${width}, 1),
)
optimizer = ${OPTIMISERS[optimiser].python(rate)}
losses = []
for step in range(${steps}):
    scores = net(points).squeeze(1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

accuracy = ((scores > 0) == (label > 0)).double().mean().item()
print(f"loss {losses[-1]:.6f} in step {len(losses)}, accuracy {100 * accuracy:.1f} %")
`;
}
