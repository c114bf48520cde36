"""``checkup``: activations of a model that pass too little gradient down, the causes, and rules that cure them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from tieless.diagnose.gradients.bounds import default_loss
from tieless.diagnose.health.cures import findings, is_cured, proposal
from tieless.diagnose.health.printed import lines_of
from tieless.diagnose.health.records import Finding, LayerHealth
from tieless.diagnose.health.vitals import vitals
from tieless.diagnose.watching.passes import loss_on
from tieless.diagnose.watching.sites import sites_of
from tieless.errors import RuleTypeError, RuleValueError
from tieless.rules import Rule

ROUNDS = 3
"""Rounds of cures: windows first, for they decide which gradients arrive below; then magnitudes; then the rest."""

Loss = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class Checkup:
    """Result of ``checkup``. ``print`` shows it as a table.

    Args:
        model: Name of the model's class.
        layers: Health of each activation, in the order in which they are called.
        findings: Problems that were found; empty if there are none.
        uncalled: Activations that the batch did not reach.
    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(8, 64), tl.Activation("heaviside", "rectangular(-0.01, 0.01)"), torch.nn.Linear(64, 2))
        >>> x = 10 * torch.randn(32, 8)
        >>> found = tl.checkup(net, x)
        >>> found.rules
        {'1': 'rectangular(-11.0, 11.0)'}
        >>> tl.checkup(tl.convert(net, found.rules), x).findings
        ()
    """

    model: str
    layers: tuple[LayerHealth, ...]
    findings: tuple[Finding, ...]
    uncalled: tuple[str, ...]

    @property
    def rules(self) -> dict[str, str]:
        """Specs of the rules that cure, by the names of their activations, as ``convert`` takes them."""
        return {finding.name: finding.proposal for finding in self.findings if finding.proposal is not None}

    def __str__(self) -> str:
        return "\n".join(lines_of(self.layers, self.findings, self.uncalled))


def checkup(model: nn.Module, batch: Any, loss: Loss | None = None) -> Checkup:
    """Examine the gradient at every activation, name the problems, and propose rules that cure them.

    The model runs forward and backward once; then, if there are problems, again with other rules, so that every
    proposal has been seen to work on this batch. ``LayerHealth`` has the measurements. Feedback is the incoming
    gradient (``grad_output``) that arrives at an activation, or the gradient that it passes down. The problems are:

    - *not finite*: NaN or infinite numbers in ``z`` or in the feedback. No rule mends those.
    - *outside the window*: 9 of 10 elements lie where the slope (multiplier) is under 1 % of its greatest, or pass
      nothing down. The proposal is a rule of the same kind, as wide as ``z`` is spread.
    - *sends nothing*: the rule passes nothing anywhere, or a part of it stops the gradient that the window passes. The
      rule ``frozen`` is reported as such, and is no finding.
    - *vanishing*, *exploding*: from the last activation to the first, feedback shrinks or grows a hundredfold, and this
      activation contributes, by a factor under a half or over two. The proposal normalises the feedback of each sample.
    - *nothing arrives*: the cause lies above.
    - *constant outputs*: more than half of the units give the same output for every sample. No rule changes what goes
      forward.

    Activations are each ``tieless.Activation`` and ``LearnableActivation``, each activation that ``convert`` has
    untied, and activation modules of PyTorch and transformers, which count as tied. Each runs as usual, with the
    parameters of its call, and in place if it normally does. Parameters get no gradient; mode, buffers, hooks and
    random state stay as they were.

    Args:
        model: Model with one activation or more.
        batch: Tensor for a call of the model, or a pair ``(inputs, targets)``.
        loss: Function ``loss(outputs, targets)``, or ``loss(outputs)`` if the batch has no targets; it gives a scalar.
            Without one, the cross entropy for integer targets, the mean square error for others; without targets, each
            output weighted with +1 or -1 at random, the same in every call.
    Returns:
        Record that prints as a table; its ``rules`` can be given to ``convert``: ``convert(model, found.rules)``.
    Raises:
        RuleTypeError: the model is no module, or the loss no scalar.
        RuleValueError: the model has no activation, or none was called; the loss depends on nothing that has a
            gradient; or a checkpoint in the model is reentrant.
    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(8, 64), tl.Activation("heaviside", "rectangular(-0.01, 0.01)"), torch.nn.Linear(64, 2))
        >>> found = tl.checkup(net, 10 * torch.randn(32, 8))
        >>> found.findings[0].cause, found.rules
        ('outside the window', {'1': 'rectangular(-11.0, 11.0)'})
    """
    sites = {site.name: site for site in sites_of(model)}
    loss_of = _loss_of(batch, loss)
    own = {name: site.rule for name, site in sites.items()}
    rules: dict[str, Rule] = {}
    tried: dict[str, Finding] = {}
    before = after = vitals(model, list(sites.values()), loss_of, rules)
    if not before:
        raise RuleValueError(
            f"checkup: none of the activations of {type(model).__name__} was called with this batch, or all of them with no "
            "elements. Give a batch that is not empty."
        )
    for _ in range(ROUNDS):
        new: dict[str, Rule] = {}
        for finding in findings(after, own | rules):
            if tried.get(finding.name, finding).cause == "nothing arrives":
                tried[finding.name] = finding  # its own cause shows when something does
            tried.setdefault(finding.name, finding)
            health = next(layer for layer in after if layer.name == finding.name)
            rule = proposal(finding.cause, sites[finding.name], (own | rules)[finding.name], health)
            if rule is not None and rule != (own | rules)[finding.name]:
                new[finding.name] = rule
        if not new:
            break
        rules |= new
        after = vitals(model, list(sites.values()), loss_of, rules)
    order = [layer.name for layer in before]
    judged = [_judged(tried[name], before, after, rules) for name in order if name in tried]
    uncalled = tuple(name for name in sites if name not in order)
    return Checkup(type(model).__name__, tuple(before), tuple(judged), uncalled)


def _judged(finding: Finding, before: list[LayerHealth], after: list[LayerHealth], rules: dict[str, Rule]) -> Finding:
    """Finding with its proposal, if that was seen to cure."""
    is_now = next(layer for layer in after if layer.name == finding.name)
    rule = rules.get(finding.name)
    if rule is not None and is_cured(finding.cause, finding.name, before, after):
        return replace(finding, proposal=str(rule), cured=is_now)
    return replace(finding, cured=is_now) if finding.cause == "nothing arrives" and is_now.arrives else finding


def _loss_of(batch: Any, loss: Loss | None) -> Callable[[nn.Module], Tensor]:
    pair = cast("tuple[Any, ...]", batch) if isinstance(batch, (tuple, list)) else (batch, None)
    if len(pair) != 2:
        raise RuleTypeError(f"checkup needs inputs or a pair (inputs, targets), got {len(pair)} of them.")
    return loss_on(partial(_loss, loss), pair, "checkup needs a scalar loss")


def _loss(loss: Loss | None, outputs: Any, targets: Any) -> Tensor:
    if loss is not None:
        return loss(outputs) if targets is None else loss(outputs, targets)
    if not isinstance(outputs, Tensor):
        raise RuleTypeError(
            f"checkup cannot weigh what the model gives, {type(outputs).__name__}. Give loss=, a function of it."
        )
    if targets is None:
        signs = torch.randint(0, 2, outputs.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return (outputs * signs.to(outputs)).mean()
    return default_loss(outputs, targets)
