"""The device and the arithmetic: the only file that knows Lightning Fabric."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fakemedia.core.errors import UserError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how precisely to compute; neither is part of a checkpoint's fingerprint."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: the GPU if there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass (weights stay float32); `auto`: bfloat16 on a GPU that has it, else float32."""

    @property
    def device(self) -> torch.device:
        """The device of network and batches; UserError if the accelerator asked for is not there."""
        return self._fabric.device

    def place(self, network: Network) -> Network:
        """Return `network` moved to the device, its convolutions in channels_last memory."""
        return network.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def setup(self, network: nn.Module, optimizer: Optimizer) -> tuple[Callable[[Tensor], Tensor], Optimizer]:
        """Return the network's forward pass and the optimiser as training is to call them.

        `network` already lies on the device and stays the plain module, whose weights the optimiser changes.
        """
        return self._fabric.setup(network, optimizer)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scalar `loss` to the parameters."""
        self._fabric.backward(loss)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context in which forward passes use the precision."""
        return self._fabric.autocast()

    @contextmanager
    def reproducible(self, seed: int = 0) -> Iterator[None]:
        """Use deterministic kernels where there are any, and torch's generators from `seed`; all is put back after."""
        before = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        devices = [self.device] if self.device.type == "cuda" else []
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed)
                yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)

    @cached_property
    def _fabric(self) -> Any:
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not available.get(self.accelerator, True):
            raise UserError(f"There is no {self.accelerator} device on this machine", where="runtime.accelerator",
                            expected=" or ".join(["auto", *(name for name, there in available.items() if there)]))
        cuda = self.accelerator in ("auto", "cuda") and available["cuda"]
        automatic = cuda and self.precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False)
        if cuda:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision != "float32"
        from lightning_fabric import Fabric  # takes seconds to import

        precision = "bf16-mixed" if automatic or self.precision == "bfloat16" else "32-true"
        return Fabric(accelerator=self.accelerator, devices=1, precision=precision)
