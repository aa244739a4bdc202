"""Ask a model that `beamgen package triton` wrote: pip install tritonclient grpcio.

    python client.py --model biogpt --tokenizer biogpt-onnx \
        -p "aspirin is" -p "penicillin is" --set max_new_tokens=16 --set length_penalty=1

The prompts are sent as requests of their own, all at once, so that the server may join
them. Parameters that the model asks of every request have to be set; the server tells
which. Without a tokenizer prompts are ids: --ids "5 9 7". Of an encoder-decoder they are
what the encoder reads; --set decoder_input_ids=[0,5] is with what its decoder goes on, where
the model asks for it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import tritonclient.grpc as triton

DTYPES = {"TYPE_INT64": np.int64, "TYPE_INT32": np.int32, "TYPE_FP32": np.float32}


class Model:
    """A served model."""

    def __init__(self, url: str, name: str) -> None:
        """Read its configuration, which says what a request gives."""
        self.name = name
        self.client = triton.InferenceServerClient(url)
        self.config = self.client.get_model_config(name, as_json=True)["config"]
        self.inputs = {value["name"]: value for value in self.config["input"]}
        self.outputs = [value["name"] for value in self.config["output"]]

    def ask(
        self, prompts: Sequence[Sequence[int]], settings: Mapping[str, Any]
    ) -> list[dict[str, np.ndarray]]:
        """The answers to prompts of token ids, sent at once: arrays by output name."""
        requests = [self._inputs(prompt, settings) for prompt in prompts]
        pending = [self._send(request) for request in requests]
        answers = [future.result() for future in pending]
        return [{name: answer.as_numpy(name) for name in self.outputs} for answer in answers]

    def _send(self, inputs: Sequence[Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def done(result: Any, error: Exception | None) -> None:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.client.async_infer(self.name, inputs, done)
        return future

    def _inputs(self, prompt: Sequence[int], settings: Mapping[str, Any]) -> list[Any]:
        ids = np.array([prompt])
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids), **settings}
        unknown = given.keys() - self.inputs.keys() - {"attention_mask"}
        missing = [
            name
            for name, value in self.inputs.items()
            if name not in given and not value.get("optional")
        ]
        if unknown or missing:
            raise SystemExit(f"{self.name} takes no {sorted(unknown)}, and needs {missing}")
        made = []
        for name, value in self.inputs.items():
            if name not in given:
                continue
            array = np.atleast_1d(np.asarray(given[name], DTYPES[value["data_type"]]))
            if self.joins:
                array = array.reshape(1, -1)
            tensor = triton.InferInput(name, array.shape, value["data_type"].removeprefix("TYPE_"))
            made.append(tensor.set_data_from_numpy(array))
        return made

    @property
    def joins(self) -> bool:
        """Whether the server joins requests; then a parameter is ``[1, 1]``, one for each row."""
        return bool(self.config.get("max_batch_size"))


def main() -> None:
    """Parse, ask, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="localhost:8001", help="the server's gRPC port")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", help="the beamgen package, or any tokenizer's folder")
    parser.add_argument("-p", "--prompt", action="append", default=[])
    parser.add_argument("--ids", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    settings = {
        name: json.loads(value)
        for name, _, value in (pair.partition("=") for pair in arguments.set)
    }
    tokenizer = None
    if arguments.tokenizer:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    prompts = [[int(token) for token in ids.split()] for ids in arguments.ids]
    if tokenizer is not None:
        prompts += [tokenizer(text)["input_ids"] for text in arguments.prompt]
    for number, prompt in enumerate(prompts, start=1):
        if not prompt:  # it would fail, or mean nothing, and others be joined with it
            raise SystemExit(f"prompt {number} of {len(prompts)} has no tokens: leave it out")
    for answer in Model(arguments.url, arguments.model).ask(prompts, settings):
        found = zip(answer["sequences_scores"][0], answer["sequences"][0], strict=True)
        for score, sequence in found:
            shown = (
                " ".join(map(str, sequence))
                if tokenizer is None
                else tokenizer.decode(sequence, skip_special_tokens=True)
            )
            print(f"{score:9.4f}  {shown}")


if __name__ == "__main__":
    main()
