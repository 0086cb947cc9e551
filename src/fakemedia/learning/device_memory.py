"""The memory that a stage takes on its device, before it is trained: counted in passes of a few images on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fakemedia.core.plan import MethodPlan
from fakemedia.core.tune import read_tune
from fakemedia.learning.cost import prepared
from fakemedia.learning.optimizers import make_optimizer
from fakemedia.methods.method import GradientMethod, Method
from fakemedia.networks.detector import Detector
from fakemedia.runtime.device import Precision, Runtime
from fakemedia.runtime.modes import evaluating
from fakemedia.store.batches import Batch

PROBE_IMAGES = (2, 4)
"""Images of the two passes; what a further one adds is the same for all."""
WORKSPACE = 2**28
"""Bytes for the workspaces of convolutions and for what the allocator cannot use."""


def stage_memory(method: MethodPlan, runtime: Runtime) -> int:
    """Return the bytes that a stage of `method` takes at most on the device of `runtime`, beside resident pixels.

    That is the larger of training on a batch and of evaluating one, with the weights, gradients, states of optimiser
    and method, and the weights of the best epoch. `method` is resolved; its network gets random weights.
    """
    cpu = Runtime(accelerator="cpu")
    network, learner, _ = prepared(method, cpu)
    training, frozen = method.training, read_tune(method.tune).kind == "head"
    weights, best = tensor_bytes(network), training.select_on != "none"
    constant = weights * (2 if best else 1) + tensor_bytes(vars(learner)) + WORKSPACE
    with evaluating(network):
        image = widest(network, training.crop, runtime.resolved_precision)
    evaluation = runtime.evaluation_batch(training.batch_size) * image
    if frozen or not isinstance(learner, GradientMethod):
        return constant + evaluation
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = tensor_bytes(trainable)
    optimizer = make_optimizer(network, training)
    for parameter in trainable:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    fixed, per_image = step_bytes(network.train(), learner, training.crop, runtime.resolved_precision)
    pictures = len(learner.mix(_batch(1, training.crop), 0).labels)
    # The penalties of methods and the optimiser's step hold one or two further values of each trained weight.
    step = 2 * gradients + fixed + training.batch_size // runtime.devices * (per_image + pictures * image)
    return constant + gradients + tensor_bytes(optimizer.state_dict()) + max(step, evaluation)


def step_bytes(network: Detector, method: GradientMethod, crop: int, precision: Precision) -> tuple[int, int]:
    """Return the bytes that a step keeps for its backward pass: for any batch, and for each image of it.

    Pictures of a memory, which the method adds to a batch, count with the image that they are beside.
    """
    static = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    totals = []
    for images in PROBE_IMAGES:
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in static:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch = method.mix(_batch(images, crop), 0)
        inputs = network.prepare(batch.images)
        batch = replace(batch, inputs=inputs)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _autocast(precision):
            terms = method.loss(network, batch, network(inputs).float())
            for tensor in (batch.images, inputs, batch.labels, batch.tasks, batch.rows):
                keep(tensor)
        totals.append(sum(saved.values()))
        del terms
    per_image = (totals[1] - totals[0]) // (PROBE_IMAGES[1] - PROBE_IMAGES[0])
    return max(totals[0] - PROBE_IMAGES[0] * per_image, 0), per_image


@torch.no_grad()
def widest(network: Detector, crop: int, precision: Precision) -> int:
    """Return the bytes of an image in the layer whose inputs and outputs are largest, and of the image itself."""
    largest = [0]

    def update_largest(_: nn.Module, inputs: Any, output: Any) -> None:
        largest[0] = max(largest[0], tensor_bytes(inputs) + tensor_bytes(output))

    hooks = [layer.register_forward_hook(update_largest) for layer in network.modules() if not list(layer.children())]
    images = _batch(PROBE_IMAGES[0], crop).images
    with _autocast(precision):
        network(network.prepare(images))
    for hook in hooks:
        hook.remove()
    return largest[0] // PROBE_IMAGES[0] + 5 * 3 * crop * crop


def tensor_bytes(value: Any) -> int:
    """Return the bytes of the tensors in `value`: a module, or nested mappings, sequences and objects of this package;
    each is counted once."""
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in _tensors(value)}.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
    elif isinstance(value, Mapping):
        yield from _all_tensors(value.values())
    elif isinstance(value, list | tuple):
        yield from _all_tensors(value)
    elif isinstance(value, Method):
        yield from _all_tensors(vars(value).values())


def _all_tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for item in values:
        yield from _tensors(item)


def _batch(images: int, crop: int) -> Batch:
    numbers = torch.arange(images)
    pixels = torch.arange(images * 3 * crop * crop).to(torch.uint8).view(images, 3, crop, crop)
    return Batch(images=pixels.contiguous(memory_format=torch.channels_last), labels=numbers % 2, tasks=0 * numbers,
                 rows=numbers % 2)


@contextmanager
def _autocast(precision: Precision) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        yield
