"""OpenVINO GenAI, a search in C++ over the decoder that optimum-intel converts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beamgen.bench.contestant import Contestant, Preparation, Search
from beamgen.bench.contestants.optimum_intel import EXACT
from beamgen.bench.dummy_tokenizer import dummy_tokenizer
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace
from beamgen.settings.prompts import Ids

_TOKENIZER = "openvino-tokenizer"


def _prepare_tokenizer(workspace: Workspace, folder: Path) -> None:
    """A pipeline does not start without one, even if it gets token ids."""
    import openvino
    from openvino_tokenizers import convert_tokenizer

    folder.mkdir()
    both = convert_tokenizer(dummy_tokenizer(workspace.vocab_size), with_detokenizer=True)
    for name, model in zip(("tokenizer", "detokenizer"), both, strict=True):
        openvino.save_model(model, folder / f"openvino_{name}.xml")


def _load(files: str, settings: dict[str, str]) -> Callable[[Workspace, Task], Search]:
    def load(workspace: Workspace, task: Task) -> Search:
        import numpy as np
        import openvino
        import openvino_genai

        pipeline = openvino_genai.LLMPipeline(
            str(workspace.files(files)),
            openvino_genai.Tokenizer(str(workspace.files(_TOKENIZER))),
            "CPU",
            scheduler_config=_scheduler(openvino_genai),
            INFERENCE_NUM_THREADS=task.threads,
            **settings,
        )

        def search(ids: Ids, new_tokens: int) -> list[list[int]]:
            config = openvino_genai.GenerationConfig()
            config.num_beams = task.num_beams
            config.num_return_sequences = 1
            config.max_new_tokens = new_tokens
            config.length_penalty = 1.0
            config.stop_criteria = openvino_genai.StopCriteria.HEURISTIC
            config.eos_token_id = workspace.vocab_size  # out of reach
            config.ignore_eos = True
            config.do_sample = False
            config.apply_chat_template = False
            mask = np.ones_like(ids)
            inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(mask))
            return [list(row) for row in pipeline.generate(inputs, config).tokens]

        return search

    return load


def _scheduler(openvino_genai: Any) -> Any:
    """The scheduler a pipeline makes for lowest latency, without its cache of prompts."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 2**31
    scheduler.enable_prefix_caching = False
    return scheduler


def _contestant(name: str, files: str, precision: str, settings: dict[str, str]) -> Contestant:
    return Contestant(
        name=name,
        load=_load(files, settings),
        needs=(_TOKENIZER, files),
        requires=("openvino-genai", "openvino-tokenizers", "optimum-intel", "nncf", "torch"),
        precision=precision,
    )


PREPARATIONS: dict[str, Preparation] = {_TOKENIZER: _prepare_tokenizer}
CONTESTANTS = (
    _contestant("openvino-genai", "openvino", "float32", EXACT),
    _contestant("openvino-genai-default", "openvino", "default", {}),
    _contestant("openvino-genai-int8", "openvino-int8", "int8", {}),
)
