"""Networks of checkpoints: whole ones, or the head alone where the body is frozen and need not be built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.rng import derive
from fakemedia.learning.head_trainer import FrozenBody
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.detector import Detector, HeadShape, seeded
from fakemedia.runtime.device import Runtime

BODY = "body."
"""Prefix of the names of the body's tensors."""


def restore_network(checkpoint: Checkpoint) -> Detector:
    """Return the network of `checkpoint` with its weights, on the CPU; UserError if it can no longer be built."""
    return restore(Plugin(**checkpoint.meta["network"]), checkpoint.meta["seed"], checkpoint)


def frozen_body(checkpoint: Checkpoint | None, runtime: Runtime) -> FrozenBody | None:
    """Return the body of `checkpoint`, built when it is first needed; None unless it is recorded as frozen."""
    if checkpoint is None or "body" not in checkpoint.meta:
        return None
    return FrozenBody(build=lambda: runtime.place(restore_network(checkpoint)), **checkpoint.meta["body"])


def same_network(network: Plugin, checkpoint: Checkpoint | None) -> bool:
    """Return whether the network of `checkpoint` is `network`, with the same settings but for its first weights."""
    settings, saved_settings = ({**described.settings, "pretrained": ""}
                                for described in (network, Plugin(**checkpoint.meta["network"]))
                                ) if checkpoint is not None else ({}, None)
    return checkpoint is not None and checkpoint.meta["network"]["name"] == network.name and settings == saved_settings


def body_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights of the body of `checkpoint`."""
    return {name: tensor for name, tensor in checkpoint.weights.items() if name.startswith(BODY)}


def restore_head(checkpoint: Checkpoint) -> Detector:
    """Return a detector with the head of `checkpoint`, and with nothing for its body."""
    settings, method = checkpoint.meta["network"]["settings"], checkpoint.meta["method"]
    weights = {name: tensor for name, tensor in checkpoint.weights.items() if not name.startswith(BODY)}
    shape = HeadShape(head=settings.get("head", "linear"), hidden=settings.get("hidden", HeadShape.hidden))
    with seeded(0):
        network = Detector(nn.Identity(), checkpoint.meta["body"]["width"], mean=(0.0,) * 3, std=(1.0,) * 3, head=shape)
        plugin.create("methods", method["name"], method["settings"], 0).shape(network, weights)
    network.make_room(weights)
    if _shapes(network.state_dict()) != _shapes(weights):
        return restore_network(checkpoint)
    network.load_state_dict(weights)
    return network


def restore(start: Plugin, seed: int, checkpoint: Checkpoint | None) -> Detector:
    """Return the start network, or the network of `checkpoint`."""
    if checkpoint is None:
        return plugin.create("networks", start.name, start.settings, derive(seed, "network"))
    saved_name = checkpoint.meta["network"]["name"]
    if saved_name != start.name:
        raise UserError("The checkpoint is of another network", where=f"checkpoint {checkpoint.meta['fingerprint']}",
                        expected=f"{start.name}, found {saved_name}",
                        do=f"name the network {saved_name}, or start from a checkpoint of {start.name}")
    settings = {**start.settings, "pretrained": "none"}
    taps, configured = (network_settings.get("taps", "head")
                        for network_settings in (checkpoint.meta["network"]["settings"], settings))
    if taps != configured:
        raise UserError("The checkpoint is of other features of the network",
                        where=f"checkpoint {checkpoint.meta['fingerprint']}",
                        expected=f"taps: {configured}, found {taps}",
                        do=f"use taps: {taps}, or start from a checkpoint with taps: {configured}")
    network: Detector = plugin.create("networks", start.name, settings, derive(seed, "network"))
    network.make_room(checkpoint.weights)
    saved_shapes = _shapes(checkpoint.weights)
    if _shapes(network.state_dict()) != saved_shapes and "method" in checkpoint.meta:
        method = checkpoint.meta["method"]
        plugin.create("methods", method["name"], method["settings"], seed).shape(network, checkpoint.weights)
    shapes = _shapes(network.state_dict())
    if shapes != saved_shapes:
        first = next(name for name in [*shapes, *saved_shapes] if shapes.get(name) != saved_shapes.get(name))
        raise UserError("The checkpoint is of the same network in another size",
                        where=f"checkpoint {checkpoint.meta['fingerprint']}, tensor {first}",
                        expected=f"shape {shapes.get(first)}, found {saved_shapes.get(first)}",
                        do="give the network the settings that the checkpoint was made with: "
                           f"{checkpoint.meta['network']['settings']}")
    network.load_state_dict(checkpoint.weights)
    return network


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}
