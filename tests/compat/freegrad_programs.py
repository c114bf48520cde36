"""Programs written for freegrad 1.0. Each leaves in ``out`` what it computed, in float64."""

README = """
import torch
import freegrad as fg
from freegrad.wrappers import Activation

x = torch.randn(8, requires_grad=True)
act = Activation(forward="ReLU")

with fg.use(rule="rectangular", params={"a": -1.0, "b": 1.0}, scope="activations"):
    y = act(x).sum()
    y.backward()

out = [y, x.grad]
"""

EVERY_RULE_WITH_EVERY_FORWARD = """
import torch
import freegrad as fg

RULES = {
    "d(ReLU)": {}, "d(Linear)": {}, "rectangular": {"a": -0.7, "b": 0.4}, "triangular": {"width": 1.5},
    "scale": {"s": -2.0}, "clip_norm": {"max_norm": 0.5, "eps": 1e-9}, "centralize": {"dim": 0, "keepdim": True},
}
out = []
for forward in ["Linear", "ReLU", "ReLU6", "LeakyReLU", "ELU", "Tanh", "Logistic", "SiLU", "GELU", "Softplus", "Heaviside"]:
    act = fg.Activation(forward)
    for rule, params in RULES.items():
        x = (3 * torch.randn(5, 7)).requires_grad_()
        with fg.use(rule, params):
            y = act(x)
        y.backward(torch.randn(5, 7))
        out += [y.detach(), x.grad]
"""

DEFAULTS = """
import torch
import freegrad as fg

out = []
for rule in ["rectangular", "triangular", "scale", "clip_norm", "centralize"]:
    x = torch.randn(4, 6).requires_grad_()
    with fg.use(rule=rule):
        fg.Activation()(x).backward(torch.randn(4, 6))
    out.append(x.grad)
"""

WITHOUT_A_RULE = """
import torch
import freegrad as fg

out = []
for forward in ["Linear", "ReLU", "ReLU6", "LeakyReLU", "ELU", "Tanh", "Logistic", "SiLU", "GELU", "Softplus"]:
    x = (4 * torch.randn(9)).requires_grad_()
    y = fg.Activation(forward=forward)(x)
    y.backward(torch.randn(9))
    out += [y.detach(), x.grad]
    x.grad = None
    with fg.use("rectangular", scope="params"):  # not for activations
        fg.Activation(forward=forward)(x).sum().backward()
    out.append(x.grad)
with torch.no_grad():
    out.append(fg.Activation("Heaviside")(torch.randn(9)))
"""

SINGLE_UNIT = """
import torch
import freegrad as fg
from torch import nn

net = nn.Sequential(nn.Linear(3, 1), fg.Activation("Logistic"))
x, target = torch.randn(32, 3), torch.rand(32, 1)
opt = torch.optim.SGD(net.parameters(), lr=0.3)
for _ in range(20):
    with fg.use(rule="d(Linear)", scope="activations"):
        loss = nn.functional.mse_loss(net(x), target)
        opt.zero_grad()
        loss.backward()
        opt.step()
out = [loss, *net.parameters()]
"""

BINARY_NETWORK = """
import torch
import freegrad as fg
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.act = nn.Linear(6, 16), nn.Linear(16, 4), fg.Activation(forward="Heaviside")
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.two(self.drop(self.act(self.one(x))))

net = Net()
x, target = torch.randn(64, 6), torch.randint(4, (64,))
opt = torch.optim.Adam(net.parameters(), lr=0.01)
losses = []
for step in range(15):
    opt.zero_grad()
    ctx = fg.use(rule="rectangular", params={"a": -0.5 - 0.1 * step, "b": 0.5}, scope="activations")
    with ctx:
        loss = nn.functional.cross_entropy(net(x), target)
    loss.backward()  # outside: the rule was taken when the activation was called
    opt.step()
    losses.append(loss.detach())
out = [*losses, *net.parameters()]
"""

COMPOSITION = """
import torch
import freegrad as fg
from freegrad.registry import compose, get

out = []
for rule, params in [
    (compose("rectangular", "scale"), {"a": -1.0, "b": 0.5, "s": 3.0}),
    (compose("centralize", "clip_norm"), {"dim": 0, "max_norm": 0.7}),
    (compose("clip_norm", fg.compose("scale", get("triangular"))), {"width": 2.0, "s": -1.0}),
    (compose("scale", "scale"), {"s": 3.0}),
    (compose(), {}),
]:
    x = torch.randn(3, 5).requires_grad_()
    with fg.use(rule=rule, params=params):
        fg.Activation("Tanh")(x).backward(torch.randn(3, 5))
    out.append(x.grad)
"""

REGISTERED = """
import torch
import freegrad as fg

@fg.register("power")
def power(ctx, grad_out, tin, p=2.0, k=1.0, **_):
    return grad_out * (1 - tin.abs().clamp(max=1) ** p) * k

@fg.register("plain")
def plain(ctx, grad_out, tin, **params):
    return grad_out * params["gain"] + 0.1 * tin

def unnamed(ctx, grad_out, tin, **kwargs):
    return torch.sign(grad_out) * kwargs.get("size", 1.0)

out = []
for rule, params in [("power", {"p": 3.0}), ("plain", {"gain": 0.5}), (unnamed, {"size": 2.0}), (unnamed, None),
                     (fg.compose("power", unnamed, "scale"), {"p": 1.0, "size": 0.2, "s": 3.0})]:
    x = torch.randn(11).requires_grad_()
    with fg.use(rule, params):
        fg.Activation("SiLU")(x).backward(torch.randn(11))
    out.append(x.grad)
out.append(fg.get("power")(None, torch.ones(4), torch.randn(4), p=1.0))
"""

NESTED = """
import torch
import freegrad as fg

x = torch.randn(20).requires_grad_()
act, out = fg.Activation("ReLU"), []
with fg.use("scale", params={"s": 2.0}):
    first = act(x)
    with fg.use("rectangular", params={"a": -1.0, "b": 0.2}):
        second = act(x)
        try:
            with fg.use("scale", params={"s": 9.0}):
                raise ValueError
        except ValueError:
            pass
        third = act(x)
    fourth = act(x)
fifth = act(x)
for y in (first, second, third, fourth, fifth):
    out += torch.autograd.grad(y, x, torch.ones(20))
"""

PARAMETERS = """
import torch
import freegrad as fg
from freegrad.hook import attach_param_hooks
from torch import nn

net = nn.Sequential(nn.Linear(5, 8), fg.Activation("ReLU"), nn.Linear(8, 2))
attach_param_hooks(net)
x, out = torch.randn(16, 5), []
for rule, params, scope in [
    ("scale", {"s": 0.5}, "params"), ("clip_norm", {"max_norm": 0.01}, "all"), ("centralize", {"dim": 0}, ["params"]),
    ("rectangular", {}, "activations"), ("d(ReLU)", {}, ("activations", "params")), ("scale", {"s": 2.0}, "all"),
]:
    net.zero_grad()
    with fg.use(rule=rule, params=params, scope=scope):
        net(x).square().sum().backward()
    out += [p.grad.clone() for p in net.parameters()]
net.zero_grad()
net(x).square().sum().backward()
out += [p.grad.clone() for p in net.parameters()]
"""

FUNCTIONAL = """
import torch
import freegrad as fg
from freegrad.functional import jvp, vjp

act, smooth = fg.Activation("ReLU"), fg.Activation("Tanh")
weight = torch.randn(4, 6)
x, u, v = torch.randn(6), torch.randn(4), torch.randn(6)
y, pull = vjp(lambda z: weight @ act(z), x, rule="rectangular", params={"a": -1.0, "b": 1.0})
out = [y, pull(u), pull(u)]
y, pull = vjp(lambda z: weight @ smooth(z), x)
out += [y, pull(u)]
out.append(jvp(lambda z: weight @ (0.3 * smooth(0.3 * z)), x, v))
"""

CALLED_DIRECTLY = """
import torch
import freegrad as fg
from freegrad import transforms
from freegrad.transforms.basic import clip_norm, triangular
from freegrad.transforms.jamming import full_jam

g, z = torch.randn(4, 5), torch.randn(4, 5)
out = [
    transforms.heaviside(None, g, z), transforms.heaviside(None, g, None), transforms.identity(None, g, z),
    transforms.rectangular(None, g, z, -1.0, 0.3), transforms.rectangular(None, g.t(), z.t(), b=0.9),
    triangular(None, g, z, width=2.0), transforms.scale(None, g, None, s=4.0), clip_norm(None, g, None, max_norm=0.1),
    transforms.centralize(None, g, None, dim=0), fg.get("d(ReLU)")(None, g, z), fg.get(triangular)(None, g, z),
    fg.compose("scale", "rectangular")(None, g, z, s=2.0, a=-0.1, b=3.0),
    (full_jam(None, g, z) / g).clamp(0, 1).floor(),
]
"""

PROGRAMS = {
    name.lower(): value
    for name, value in list(globals().items())
    if isinstance(value, str) and "import freegrad" in value
}
