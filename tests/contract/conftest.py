"""A TensorRT that needs no GPU: the names of the real bindings, with ONNX Runtime behind them."""

from __future__ import annotations

import ctypes
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

INPUT, OUTPUT = 1, 2
KINDS: dict[str, Any] = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
_MARK = b"FAKEPLAN"


@dataclass
class Script:
    """What the fake is told to do, and what was done with it.

    Attributes:
        version: Version of TensorRT.
        initialises: Whether CUDA can be initialised.
        parses: Whether the parser accepts graphs.
        strong: Whether the strongly typed build returns an engine.
        weak: The same of the weakly typed one.
        starts: Whether execution contexts can be made.
        runs: Whether they run.
        dla_cores: Cores of the DLA.
        calls: What was called, in order.
        says: What TensorRT says when it refuses.
    """

    version: str = "10.3.0"
    initialises: bool = True
    parses: bool = True
    strong: bool = True
    weak: bool = True
    starts: bool = True
    runs: bool = True
    dla_cores: int = 0
    calls: list[str] = field(default_factory=list)
    says: str = "Error Code 9: it is scripted to fail"


class _Severities:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger(_Severities):
    def __init__(self) -> None: ...


def flags(**values: int) -> Any:
    return types.SimpleNamespace(**values)


def names(*values: str) -> Any:
    """An enum whose members are their own names, so that calls can be read."""
    return types.SimpleNamespace(**{value: value for value in values})


class Network:
    def __init__(self, flag: int) -> None:
        self.strong = flag != 0
        self.model = b""

    @property
    def num_layers(self) -> int:
        return 3

    def get_layer(self, index: int) -> Any:
        return types.SimpleNamespace(name=f"layer{index}", index=index)


class Config:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.builder_optimization_level = 0
        self.default_device_type = 0
        self.DLA_core = -1
        self.profiles: list[dict[str, tuple[Any, ...]]] = []
        self.cache: Any = None

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        assert pool == 0
        assert size > 0

    def clear_flag(self, flag: int) -> None:
        self.script.calls.append(f"clear {flag}")

    def set_flag(self, flag: int) -> None:
        self.script.calls.append(f"set {flag}")

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802 - the name in the bindings
        assert self.default_device_type == 1
        return bool(layer.index == 1)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> Any:
        return types.SimpleNamespace(data=data, serialize=lambda: memoryview(b"timed"))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.script.calls.append(f"timing {cache.data!r}")
        self.cache = cache
        return bool(cache.data != b"of another device")

    def get_timing_cache(self) -> Any:
        return self.cache


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.shapes[name] = shapes


class Engine:
    """An engine of the fake: ONNX Runtime runs the graph, at addresses of memory like the real one."""

    def __init__(self, script: Script, plan: dict[str, Any], model: bytes) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        self.script, self.plan = script, plan
        self.session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        self.nodes = {n.name: n for n in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.inputs = {n.name for n in self.session.get_inputs()}

    @property
    def num_io_tensors(self) -> int:
        return len(self.nodes)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.nodes)[index])

    def get_tensor_mode(self, name: str) -> int:
        return INPUT if name in self.inputs else OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return str(self.nodes[name].type)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self.nodes[name].shape)

    def create_execution_context(self) -> Any:
        return Context(self) if self.script.starts else None


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.plan["profile"][name]
        self.shapes[name] = shape
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        (batch,) = {shape[0] for shape in self.shapes.values()}
        return tuple(batch if side < 0 else side for side in self.engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        if not self.engine.script.runs:
            return False
        feeds = {name: _memory(self.addresses[name], self.shapes[name], np.uint8) for name in self.engine.inputs}
        names = [name for name in self.engine.nodes if name not in self.engine.inputs]
        for name, value in zip(names, self.engine.session.run(names, feeds), strict=True):
            _memory(self.addresses[name], value.shape, value.dtype)[...] = value
        return True


def _memory(address: int, shape: tuple[int, ...], kind: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)
    return raw.view(kind).reshape(shape)


def _builder(script: Script) -> type[Any]:
    class Builder:
        def __init__(self, logger: Any) -> None:
            if not script.initialises:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self.logger = logger
            self.num_DLA_cores = script.dla_cores

        def create_network(self, flag: int) -> Network:
            return Network(flag)

        def create_builder_config(self) -> Config:
            return Config(script)

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> Any:
            kind = "strong" if network.strong else "weak"
            script.calls.append(f"build {kind}")
            if not getattr(script, kind):
                self.logger.log(_Severities.ERROR, script.says)
                return None
            (profile,) = config.profiles
            head = json.dumps({"version": script.version, "profile": profile, "dla": config.DLA_core}).encode()
            return memoryview(_MARK + len(head).to_bytes(4, "little") + head + network.model)

    return Builder


def _parser(script: Script) -> type[Any]:
    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            del logger
            self.network = network
            self.num_errors = 0

        def set_flag(self, flag: int) -> None:
            script.calls.append(f"parser {flag}")

        def parse(self, model: bytes) -> bool:
            self.network.model = model
            self.num_errors = int(not script.parses)
            return script.parses

        def get_error(self, index: int) -> Any:
            assert index == 0
            return types.SimpleNamespace(
                desc=lambda: script.says, node_name=lambda: "node7", node_operator=lambda: "Gelu"
            )

    return OnnxParser


def _runtime(script: Script) -> type[Any]:
    class Runtime:
        DLA_core = -1

        def __init__(self, logger: Any) -> None:
            if not script.initialises:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            size = int.from_bytes(data[8:12], "little")
            plan = json.loads(data[12 : 12 + size]) if data[:8] == _MARK else {"version": "?"}
            script.calls.append("deserialize")
            if plan["version"] != script.version or plan["dla"] != self.DLA_core:
                self.logger.log(_Severities.ERROR, "Version tag does not match.")
                return None
            return Engine(script, plan, data[12 + size :])

    return Runtime


def make_tensorrt(script: Script) -> Any:
    """The module, with the names that its version has."""
    old = script.version.startswith("10.")
    module: Any = types.ModuleType("tensorrt")
    module.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    module.__version__ = script.version
    module.ILogger, module.Builder = ILogger, _builder(script)
    module.OnnxParser, module.Runtime = _parser(script), _runtime(script)
    module.NetworkDefinitionCreationFlag = flags(STRONGLY_TYPED=1 if old else 0)
    module.MemoryPoolType = flags(WORKSPACE=0)
    module.DeviceType = flags(GPU=0, DLA=1)
    module.TensorIOMode = flags(NONE=0, INPUT=INPUT, OUTPUT=OUTPUT)
    module.BuilderFlag = names("TF32", "GPU_FALLBACK", *(("FP16", "INT8") if old else ()))
    module.OnnxParserFlag = names(*(() if script.version.startswith("10.3") else ("ADJUST_FOR_DLA",)))
    module.nptype = KINDS.__getitem__
    return module


class FakeCudart(types.ModuleType):
    """``cuda.bindings.runtime`` on the memory of the CPU: functions return an error code and values.

    Attributes:
        live: Buffers by address; what is left in it was not freed.
        errors: Error code by the function that is to fail.
    """

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.live: dict[int, Any] = {}
        self.errors: dict[str, int] = {}
        self.streams: set[int] = set()
        self.attributes = {16: 16, 18: 1, 32: 0, 38: 4 << 20, 75: 8, 76: 7}
        self.name = b"Orin"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # A function that is not written below is none that the code may call.
        work = vars(type(self)).get(f"do_{name}")
        if work is None:
            raise AttributeError(name)
        return lambda *arguments: (error,) if (error := self.errors.get(name, 0)) else (0, *work(self, *arguments))

    def cudaMemcpyKind(self, kind: int) -> int:  # noqa: N802 - names of CUDA
        return kind

    def cudaDeviceAttr(self, code: int) -> int:  # noqa: N802 - names of CUDA
        return code

    def do_cudaMalloc(self, size: int) -> tuple[int]:  # noqa: N802 - names of CUDA
        buffer = (ctypes.c_uint8 * size)()
        self.live[ctypes.addressof(buffer)] = buffer
        return (ctypes.addressof(buffer),)

    do_cudaMallocHost = do_cudaMalloc  # noqa: N815 - names of CUDA

    def do_cudaFree(self, address: int) -> tuple[()]:  # noqa: N802 - names of CUDA
        del self.live[address]
        return ()

    do_cudaFreeHost = do_cudaFree  # noqa: N815 - names of CUDA

    def do_cudaStreamCreate(self) -> tuple[int]:  # noqa: N802 - names of CUDA
        self.streams.add(7)
        return (7,)

    def do_cudaStreamDestroy(self, stream: int) -> tuple[()]:  # noqa: N802 - names of CUDA
        self.streams.remove(stream)
        return ()

    def do_cudaStreamSynchronize(self, stream: int) -> tuple[()]:  # noqa: N802 - names of CUDA
        assert stream in self.streams
        return ()

    def do_cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[()]:  # noqa: N802 - names of CUDA
        assert kind in (1, 2)
        assert stream in self.streams
        ctypes.memmove(target, source, size)
        return ()

    def do_cudaDeviceGetAttribute(self, code: int, device: int) -> tuple[int]:  # noqa: N802 - names of CUDA
        assert device == 0
        return (self.attributes[code],)

    def do_cudaGetDeviceProperties(self, device: int) -> tuple[Any]:  # noqa: N802 - names of CUDA
        assert device == 0
        return (types.SimpleNamespace(name=self.name),)

    def do_cudaMemGetInfo(self) -> tuple[int, int]:  # noqa: N802 - names of CUDA
        return 1 << 30, 8 << 30

    def do_cudaRuntimeGetVersion(self) -> tuple[int]:  # noqa: N802 - names of CUDA
        return (12060,)

    do_cudaDriverGetVersion = do_cudaRuntimeGetVersion  # noqa: N815 - names of CUDA


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch) -> FakeCudart:
    """A CUDA runtime in the place of the real one."""
    fake = FakeCudart()
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", types.ModuleType("cuda.bindings"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    return fake


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, cudart: FakeCudart) -> Script:
    """TensorRT 10.3 in the place of the real one, until ``reload_tensorrt`` puts in another."""
    assert cudart is sys.modules["cuda.bindings.runtime"]
    made = Script()
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(made))
    return made


@pytest.fixture
def reload_tensorrt(monkeypatch: pytest.MonkeyPatch, script: Script) -> Callable[[str], None]:
    """Puts another version of TensorRT in the place of the last one."""

    def reload(version: str) -> None:
        script.version = version
        monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(script))

    return reload
