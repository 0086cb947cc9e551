"""Devices and precision: the only module that imports Lightning Fabric.

Several processes (`torchrun ... kedro run`, or the setting `devices`) each train on a share of every batch. Measured
and saved values are the same on all ranks; only rank 0 writes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from fakemedia.core.errors import UserError
from fakemedia.runtime.peers import HOST, check_same, own_facts
from fakemedia.runtime.threads import cores

Network = TypeVar("Network", bound=nn.Module)
PEER_TIMEOUT = timedelta(days=7)
"""How long the other ranks wait for rank 0, which ingests the data."""
EVALUATION_BATCH = 512
"""Images in an evaluation batch on a GPU."""
ARRAY_CACHE_BYTES = 2**28
"""Bytes of the arrays that a process keeps in memory rather than reading them again."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt in glibc's malloc.h."""
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how precisely to compute; not part of what makes a checkpoint current, but recorded in it."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: the GPU if there is one."""
    devices: int = 1
    """Devices of this machine that train together, each with its share of every batch; several machines: start the
    same command under torchrun on each."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass (weights stay float32); `auto`: bfloat16 where the device supports it, else
    float32."""
    compile: bool = False
    """Compile the network (torch.compile): a minute at every stage, for a faster step on some GPUs; none on the CPU."""
    resident_share: float = 0.5
    """Share of the free device memory up to which a stage's pixels are kept there; above it batches are copied."""
    save_minutes: float = 5.0
    """Minutes of training within an epoch after which the state is saved, so that a killed run can resume there; it is
    saved at the end of an epoch too, unless the epoch is short and saving slow."""
    features_gib: float = 20.0
    """Upper limit of the features of a collection that are stored where only heads are trained, GiB."""

    def __post_init__(self) -> None:
        if self.devices < 1 or not 0 <= self.resident_share < 1 or not self.save_minutes >= 0:
            raise ValueError("devices of at least 1, resident_share in [0, 1) and save_minutes of at least 0")
        if not self.features_gib > 0:
            raise ValueError("features_gib above 0")

    @property
    def device(self) -> torch.device:
        """The device of network and batches; UserError if the requested device does not exist."""
        return self._fabric.device

    def check(self) -> None:
        """Raise UserError if there is no such device, or fewer than requested."""
        _ = self._kind

    @property
    def rank(self) -> int:
        """The rank of this process, from 0."""
        return self._fabric.global_rank

    @property
    def world(self) -> int:
        """The number of processes that train together."""
        return self._fabric.world_size

    @cached_property
    def resolved_precision(self) -> Precision:
        """The arithmetic that `precision` means on this device."""
        computes = {"cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
                    "cpu": _cpu_computes_bfloat16}.get(self._kind, lambda: False)
        use_bfloat16 = self.precision == "bfloat16" or (self.precision == "auto" and computes())
        return "bfloat16" if use_bfloat16 else "float32"

    def facts(self) -> dict[str, Any]:
        """Return the properties of this runtime that the rounding of results depends on."""
        return {"device": self.device.type, "precision": self.resolved_precision, "processes": self.world,
                "compiled": self.compile}

    def place(self, network: Network) -> Network:
        """Return `network` moved to the device, its convolutions in channels_last memory."""
        return network.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def setup(self, network: nn.Module, optimizer: Optimizer) -> tuple[Callable[[Tensor], Tensor], Optimizer]:
        """Return the network's forward pass and the optimiser for the training loop.

        `network` is on the device already and stays the plain module, whose weights the optimiser changes. On several
        GPUs its batch normalisation uses the statistics of the full batch; on several CPU processes each rank uses
        those of its share.
        """
        module = with_common_statistics(network) if self.world > 1 and self.device.type == "cuda" else network
        if self.compile:
            module = torch.compile(module)  # pyright: ignore[reportAssignmentType]
        return self._fabric.setup(module, optimizer) if self.world > 1 else (module, optimizer)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scalar `loss`, averaged over the processes, to the parameters."""
        if self.world > 1:
            self._fabric.backward(loss)
        else:
            loss.backward()

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context in which forward passes use the precision.

        Torch's own: Fabric's would round the inputs before the network sees them.
        """
        if self.resolved_precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def mean(self, values: Tensor) -> Tensor:
        """Return `values` averaged over the processes."""
        return values if self.world == 1 else self._fabric.all_reduce(values, reduce_op="mean")

    def total(self, values: Tensor) -> Tensor:
        """Return `values` summed over the processes."""
        return values if self.world == 1 else self._fabric.all_reduce(values, reduce_op="sum")

    def any_of(self, *flags: bool) -> list[bool]:
        """Return for each of `flags` whether it is true in any process."""
        if self.world == 1:
            return list(flags)
        return self.total(torch.tensor(flags, dtype=torch.int32, device=self.device)).bool().tolist()

    @cached_property
    def array_cache(self) -> LRUCache[Hashable, NDArray[Any]]:
        """Arrays that this process has read and may need again, those used last."""
        return LRUCache(ARRAY_CACHE_BYTES, getsizeof=lambda array: array.nbytes)

    def seed(self, seed: int) -> None:
        """Seed torch's generators, of the CPU and of the device.

        On a CPU, `torch.manual_seed` would record the call stack for each kind of absent device: 1 ms.
        """
        (torch.default_generator if self.device.type == "cpu" else torch).manual_seed(seed)

    def random_state(self) -> list[Tensor]:
        """Return the states of torch's generators, of the CPU and of the device, uint8."""
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [])]

    def set_random_state(self, states: list[Tensor]) -> None:
        """Put torch's generators into the `states` that `random_state` returned on a device of the same kind."""
        torch.set_rng_state(states[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self.device)

    def align(self, network: nn.Module) -> None:
        """Give every process the same state: the weights of rank 0, and the mean of the running statistics.

        Without a common batch normalisation, the statistics of each process are those of its share.
        """
        if self.world > 1:
            for parameter in network.parameters():
                torch.distributed.broadcast(parameter.data, 0)
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.mean(buffer))

    def evaluation_batch(self, batch_size: int) -> int:
        """Return the batch size of evaluation, given that of training."""
        return max(batch_size, EVALUATION_BATCH) if self.device.type == "cuda" else batch_size

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Raise UserError in every process if `facts` differ between processes; the message names those that differ."""
        if self.world > 1:
            _check_same({HOST: own_facts()[HOST], **facts}, self.world)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            self._fabric.barrier()

    def room(self) -> int:
        """Return the bytes of device memory for resident pixels; 0 without separate device memory."""
        if self.device.type != "cuda":
            return 0
        # Memory cached by torch, such as the pixels of the stage before, is free too.
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(self.resident_share * (torch.cuda.mem_get_info(self.device)[0] + cached))

    def reset_memory(self) -> None:
        """Start a new peak for `memory_mib`."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory_mib(self) -> float:
        """Return the memory of this process, MiB: the peak on a GPU since `reset_memory`, or else what it uses of the
        host now.

        Loaded pages of memory-mapped files are not counted where the system reports them separately.
        """
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        try:
            with open("/proc/self/status", encoding="ascii") as status:
                kib = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
            return int(kib["RssAnon"]) / 2**10
        except (OSError, KeyError):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak / (2**20 if sys.platform == "darwin" else 2**10)

    @contextmanager
    def reproducible(self, seed: int = 0) -> Iterator[None]:
        """Use deterministic kernels where available, and torch's generators from `seed`; restore both afterwards."""
        were_deterministic = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        memory: Any = torch.utils.deterministic
        fill = memory.fill_uninitialized_memory
        devices = [self.device] if self.device.type == "cuda" else []
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # a debugging aid that costs 3 % of a step
        try:
            with torch.random.fork_rng(devices=devices):
                self.seed(seed)
                yield
        finally:
            memory.fill_uninitialized_memory = fill
            torch.use_deterministic_algorithms(were_deterministic, warn_only=warn_only)

    @cached_property
    def _kind(self) -> str:
        """The kind of device; UserError if there is none, or fewer than requested."""
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not available.get(self.accelerator, True):
            raise UserError(f"There is no {self.accelerator} device on this machine", where="runtime.accelerator",
                            expected=" or ".join(["auto", *(name for name, works in available.items() if works)]))
        automatic = "cuda" if available["cuda"] else "mps" if available["mps"] else "cpu"
        kind = automatic if self.accelerator == "auto" else self.accelerator
        maximum = {"cpu": cores(), "cuda": torch.cuda.device_count()}.get(kind, 1)
        if max(self.devices, int(os.environ.get("LOCAL_WORLD_SIZE", 1))) > maximum:
            raise UserError(f"There are fewer devices than requested: {maximum} ({kind})", where="runtime.devices",
                            expected=f"1 to {maximum}", do=f"run with --params runtime.devices={maximum}")
        return kind

    @cached_property
    def _fabric(self) -> Any:
        if self._kind == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision != "float32"
        elif self._kind == "cpu":
            keep_freed_memory()
        from lightning_fabric import Fabric  # takes seconds to import
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy

        processes, local = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        # DDP then builds its gradient buckets once, not after the first step: a resumed run sums in the same order.
        find_unused = self._kind == "cpu" and processes > 2
        strategy = DDPStrategy(timeout=PEER_TIMEOUT, find_unused_parameters=find_unused) if processes > 1 else "auto"
        fabric = Fabric(accelerator=self._kind, devices=local, num_nodes=processes // local, precision="32-true",
                        strategy=strategy,
                        plugins=[] if processes > 1 else [LightningEnvironment()])  # SLURM's tasks are not ours.
        fabric.launch()
        if processes > 1:
            _check_same(own_facts(), processes)
        return fabric


def _check_same(local_facts: Mapping[str, str], processes: int) -> None:
    facts: list[Any] = [None] * processes
    torch.distributed.all_gather_object(facts, dict(local_facts))
    check_same(facts)


def with_common_statistics(network: nn.Module) -> nn.Module:
    """Return `network` with its batch normalisations replaced by those over all processes, the weights shared.

    By timm's function: torch's drops the activations inside some of timm's layers.
    """
    from timm.layers.norm_act import convert_sync_batchnorm

    return convert_sync_batchnorm(network)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step: releasing and requesting it again costs 8 % of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _cpu_computes_bfloat16() -> bool:
    """Return whether the CPU multiplies in bfloat16 (AVX512-BF16 or AMX); others emulate it slower than float32."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in checks if supported is not None)
