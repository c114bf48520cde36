"""Tensors that are not plain memory, examples of mapped batches, and what outlives a transform."""

import pytest
import torch
from torch.nn import functional as F

from tests.core.operands import numbers, same, sent
from tests.core.parts import wrong_parts
from tests.pairs import asked
from tieless import untie


def test_what_is_not_plain_memory_is_read_as_what_it_means(request):
    pairs = asked(request.config, request.node.nodeid)
    assert wrong_parts("tests.core.operands", f"[*kept(), *given({pairs}), *without_values({pairs})]") == []


# Sizes around a byte of bits, examples along any dimension.


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 33])
def test_jacobians_are_those_of_a_loop(size):
    z = numbers(size)
    for forward, rule, slope in (
        ("relu", "tied", (z > 0).float()),
        ("heaviside", "rectangular(-1, 1)", ((z >= -1) & (z <= 1)).float()),
        ("linear", "leaky_relu(0.5)", torch.where(z > 0, 1.0, 0.5)),
    ):
        jacobian = torch.func.jacrev(lambda x, f=forward, r=rule: untie(x, f, r))(z)
        assert torch.equal(jacobian, torch.diag(slope))
        chunked = torch.func.jacrev(lambda x, f=forward, r=rule: untie(x, f, r), chunk_size=1)(z)
        assert torch.equal(chunked, jacobian)
        leaf = z.clone().requires_grad_()
        rows = torch.autograd.grad(untie(leaf, forward, rule), leaf, torch.eye(size), is_grads_batched=True)
        assert torch.equal(rows[0], jacobian)


def _images(dim):
    """A batch of three channels-last images, and what is sent at each of them, with the examples at ``dim``."""
    z = numbers(3, 2, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    z = torch.stack([example.to(memory_format=torch.channels_last) for example in z])
    return z.movedim(0, dim), numbers(*z.shape, seed=3).movedim(0, dim)


@pytest.mark.parametrize(("batched", "dim"), [("both", 4), ("both", 1), ("feedback", 0)])
def test_examples_of_a_mapped_batch_of_images_are_those_of_a_loop(rule, fitting_forwards, batched, dim):
    z, feedback = _images(dim)
    example = z.select(dim, 0)

    def send(x, g):
        return torch.func.grad(lambda x: (untie(x, forward, rule) * g).sum())(x)

    for forward in fitting_forwards[:1]:
        torch.manual_seed(2)
        if batched == "both":
            mapped = torch.func.vmap(send, in_dims=dim, randomness="same")(z, feedback)
        else:
            mapped = torch.func.vmap(send, in_dims=(None, dim), randomness="same")(example, feedback)
        for i in range(3):
            torch.manual_seed(2)
            alone = send(z.select(dim, i) if batched == "both" else example, feedback.select(dim, i))
            assert same(mapped[i], alone, rule), (forward, i)


def test_feedback_batched_by_autograd_follows_images_in_channels_last(rule, fitting_forwards):
    z = numbers(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    feedback = numbers(5, 2, 3, 4, 4, seed=1)
    leaf = z.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(3)
    y = untie(leaf, fitting_forwards[0], rule)
    (rows,) = torch.autograd.grad(y, leaf, feedback, is_grads_batched=True, retain_graph=True)
    for i in range(5):
        assert same(rows[i], torch.autograd.grad(y, leaf, feedback[i], retain_graph=True)[0], rule)


# Transforms that have ended: what they kept outlives them.


def test_the_pull_of_vjp_runs_after_the_transform_has_ended(rule, fitting_forwards):
    z, feedback = numbers(13), numbers(13, seed=1)
    for forward in {fitting_forwards[0], fitting_forwards[-1]}:
        torch.manual_seed(5)
        y, pull = torch.func.vjp(lambda x, forward=forward: untie(x, forward, rule), z)
        expected = sent(z, forward, rule, feedback=feedback)
        assert torch.equal(y, expected[0])
        assert same(pull(feedback)[0], expected[1], rule), forward
        assert same(pull(feedback)[0], expected[1], rule), forward


def test_the_tangent_kernel_of_a_converted_network_is_that_of_the_network():
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    x = numbers(4, 3)

    def kernel(function):
        rows = torch.func.jacrev(function, chunk_size=1)(weights)
        return sum(row.flatten(2).flatten(0, 1) @ row.flatten(2).flatten(0, 1).T for row in rows.values())

    expected = kernel(lambda w: F.linear(F.relu(F.linear(x, w["0.weight"], w["0.bias"])), w["2.weight"], w["2.bias"]))
    ours = kernel(
        lambda w: F.linear(untie(F.linear(x, w["0.weight"], w["0.bias"]), "relu", "tied"), w["2.weight"], w["2.bias"])
    )
    torch.testing.assert_close(ours, expected)
