"""Building a TensorRT engine from an ONNX file: one strongly typed way for 10.3 to 11.4, with names that all have.

In a strongly typed network every tensor has the type that the file gives it, so precision is decided by the exporter
and proven there; the builder only chooses kernels. TensorRT 10 can also type weakly: that way is taken only for the DLA
of JetPack 6, and where the strong one returns nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from edgebrain.engines.trt_library import failed
from edgebrain.engines.trt_rules import Profile, types_weakly
from edgebrain.errors import EngineFailed, EngineUnavailable, printable
from edgebrain.types import Precision

LEVEL = 3
"""Optimisation level of the builder; TensorRT's own choice, named because it is part of what an engine is."""
_TICK = 1.0
"""Seconds between two updates of the elapsed time on a terminal."""

Route = Literal["strong", "weak"]


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        name: What to call it in messages.
        graph: The ONNX file.
        weak_graph: The file for the weakly typed way: fp32, whose precision flags lower.
        precision: Precision of the file.
        input: Name of the input.
        shape: Channels, height and width.
        profile: Batch sizes.
        dla: Core of the DLA, or None for the GPU.
        workspace_bytes: Memory that the builder may use for one layer.
        timing: What earlier builds measured.
    """

    name: str
    graph: bytes
    weak_graph: bytes
    precision: Precision
    input: str
    shape: tuple[int, int, int]
    profile: Profile
    dla: int | None
    workspace_bytes: int
    timing: bytes = b""


@dataclass(frozen=True)
class Built:
    """A built engine.

    Attributes:
        plan: The engine.
        route: How the network was typed.
        gpu_layers: Layers that the DLA cannot run and the GPU takes over; empty without DLA.
        seconds: How long it took.
        timing: What this build and earlier ones measured.
    """

    plan: bytes
    route: Route
    gpu_layers: tuple[str, ...]
    seconds: float
    timing: bytes


def build_engine(trt: Any, logger: Any, request: BuildRequest, why: str) -> Built:
    """Build an engine; takes minutes, and says so on standard error.

    Args:
        trt: The module.
        logger: A collecting logger.
        request: What to build.
        why: Why there is none that could be used.

    Raises:
        EngineUnavailable: CUDA cannot be initialised, or there is no such DLA.
        EngineFailed: TensorRT does not read the graph, or builds nothing from it.
    """
    try:
        builder = trt.Builder(logger)
    except TypeError as error:
        raise EngineUnavailable(
            "TensorRT could not initialise CUDA.", remedy="Check the driver and the GPU: nvidia-smi, tegrastats."
        ) from error
    if request.dla is not None and request.dla >= int(builder.num_DLA_cores):
        raise EngineUnavailable(
            f"This device has no DLA core {request.dla}: TensorRT counts {int(builder.num_DLA_cores)}.",
            remedy="Use --device cuda.",
        )
    weakly = types_weakly(str(trt.__version__))
    # The DLA of JetPack 6 takes precision from flags only; the one of 11.4.1 from types only.
    routes: tuple[Route, ...] = ("strong", "weak") if weakly else ("strong",)
    if request.dla is not None and weakly:
        routes = ("weak",)
    began = time.monotonic()
    with announced(f"Building a TensorRT engine of {request.name}: {why}. It takes minutes, once."):
        for route in routes:
            made = _build(trt, logger, builder, request, route)
            if made is not None:
                plan, layers, timing = made
                return Built(plan, route, layers, round(time.monotonic() - began, 1), timing)
    raise failed(
        f"TensorRT {trt.__version__} builds no engine of {request.name}",
        logger,
        remedy="Use --engine onnxruntime, or another precision.",
    )


def _build(
    trt: Any, logger: Any, builder: Any, request: BuildRequest, route: Route
) -> tuple[bytes, tuple[str, ...], bytes] | None:
    strong = route == "strong"
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if strong else 0)
    parser = trt.OnnxParser(network, logger)
    if request.dla is not None and strong:
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
    if not parser.parse(request.graph if strong else request.weak_graph):
        raise EngineFailed(f"TensorRT {trt.__version__} does not read {request.name}: {_faults(parser)}.")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    config.builder_optimization_level = LEVEL
    # Left on, it rounds the inputs of fp32 products to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    if not strong:
        _lower(trt, config, request.precision)
    layers = _use_dla(trt, network, config, request.dla) if request.dla is not None else ()
    _add_profile(builder, config, request)
    cache = _timing_cache(config, request.timing)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None
    timing = bytes(memoryview(config.get_timing_cache().serialize()))
    del cache  # it must live as long as the build
    return bytes(memoryview(plan)), layers, timing


def _lower(trt: Any, config: Any, precision: Precision) -> None:
    """Only in TensorRT 10: flags say what a weakly typed network may compute in."""
    if precision in (Precision.FP16, Precision.INT8):
        config.set_flag(trt.BuilderFlag.FP16)
    if precision is Precision.INT8:
        config.set_flag(trt.BuilderFlag.INT8)


def _use_dla(trt: Any, network: Any, config: Any, core: int) -> tuple[str, ...]:
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = (network.get_layer(index) for index in range(int(network.num_layers)))
    return tuple(str(layer.name) for layer in layers if not config.can_run_on_DLA(layer))


def _add_profile(builder: Any, config: Any, request: BuildRequest) -> None:
    batches = (request.profile.minimum, request.profile.optimum, request.profile.maximum)
    profile = builder.create_optimization_profile()
    profile.set_shape(request.input, *((batch, *request.shape) for batch in batches))
    if int(config.add_optimization_profile(profile)) < 0:
        raise EngineFailed(f"TensorRT refuses the batch sizes {batches} for {request.name}.")


def _timing_cache(config: Any, stored: bytes) -> Any:
    for data in dict.fromkeys((stored, b"")):
        cache = config.create_timing_cache(data)
        # Refused where another device measured it; an empty one always fits.
        if cache is not None and config.set_timing_cache(cache, False):  # noqa: FBT003 - positional in the bindings
            return cache
    return None


def _faults(parser: Any) -> str:
    found = []
    for index in range(int(parser.num_errors)):
        fault = parser.get_error(index)
        where = " ".join(filter(None, (str(fault.node_operator()), str(fault.node_name()))))
        found.append(f"{where}: {fault.desc()}" if where else str(fault.desc()))
    return printable("; ".join(found)) or "it gives no reason"


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Say on standard error what takes long, how long it has taken so far (on a terminal), and how long it took."""
    began = time.monotonic()
    done = threading.Event()
    terminal = sys.stderr.isatty()
    sys.stderr.write(f"{printable(what)}\n")
    sys.stderr.flush()

    def tick() -> None:
        while not done.wait(_TICK):
            sys.stderr.write(f"\r  {time.monotonic() - began:.0f} s")
            sys.stderr.flush()

    watcher = threading.Thread(target=tick, daemon=True)
    if terminal:
        watcher.start()
    try:
        yield
    finally:
        done.set()
        if terminal:
            watcher.join()
    sys.stderr.write(f"{chr(13) if terminal else ''}  built in {time.monotonic() - began:.0f} s\n")
