"""A stand-in for Triton: its gRPC service, over ONNX Runtime, one request at a time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beamgen.formats.triton.checks import load, parse
from beamgen.formats.triton.ports import PROMPT_LENGTHS

DTYPES = {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the models of a repository."""

    def __init__(self, repository: Path) -> None:
        self.configs = {
            path.parent.name: parse(path.read_text(encoding="utf-8"))
            for path in repository.glob("*/config.pbtxt")
        }
        self.session = functools.cache(lambda name: load(repository / name / "1/model.onnx"))

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return service_pb2.ModelConfigResponse(config=self.configs[request.name])

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        given = {
            value.name: np.frombuffer(raw, DTYPES[value.datatype]).reshape(value.shape)
            for value, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        known = [output.name for output in self.configs[request.model_name].output]
        wanted = [output.name for output in request.outputs] or known
        found = self.answer(request.model_name, given, wanted)
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, value in found.items():
            response.outputs.add(name=name, datatype=NAMES[value.dtype], shape=value.shape)
            response.raw_output_contents.append(value.tobytes())
        return response

    def answer(
        self, model: str, given: dict[str, np.ndarray], wanted: list[str]
    ) -> dict[str, np.ndarray]:
        """Hold a request against the configuration, reshape it, run the file."""
        config = self.configs[model]
        inputs = {value.name: value for value in config.input}
        assert given.keys() <= inputs.keys()
        feeds = {}
        for name, value in inputs.items():
            if name not in given:
                assert value.optional, f"{name} is missing"
                continue
            feeds[name] = array = given[name]
            batch, dims = (1, array.shape[1:]) if config.max_batch_size else (0, array.shape)
            assert len(dims) == len(value.dims)
            assert all(asked in (-1, size) for size, asked in zip(dims, value.dims, strict=True))
            if value.HasField("reshape"):
                feeds[name] = array.reshape(array.shape[:batch])
            if value.allow_ragged_batch:
                feeds[name] = array.reshape(-1)
                feeds[PROMPT_LENGTHS] = np.array([dims] * len(array), np.int32)
        return dict(zip(wanted, self.session(model).run(wanted, feeds), strict=True))


@contextlib.contextmanager
def serving(repository: Path) -> Iterator[str]:
    """The address of a stand-in, while it runs."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(repository), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
