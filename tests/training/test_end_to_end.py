"""Two LoRAs trained on two tasks, one file, one session: none, A, B, none."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from beamgen import Generator, Package, export, find_adapter, finetune, open_package
from beamgen.checkpoint.checkpoint import Checkpoint, demo_checkpoint
from beamgen.parity.check import check_parity
from beamgen.parity.reference import Reference
from beamgen.settings.prompts import left_pad

EXAMPLES = Path(__file__).parents[2] / "examples" / "lora"
TASKS = {"drugs": 4, "animals": 9}  # and their ranks
PROMPTS = ["aspirin is", "sparrow is", "the shark is"]
SETTINGS = {"num_beams": 5, "max_new_tokens": 24}


@pytest.fixture(scope="module", params=["biogpt", pytest.param("phi3", marks=pytest.mark.slow)])
def base(request: pytest.FixtureRequest) -> Checkpoint:
    return demo_checkpoint(find_adapter(request.param))


@pytest.fixture(scope="module")
def loras(base: Checkpoint, once: Callable[..., Path]) -> dict[str, Path]:
    name = base.adapter().name

    def write(folder: Path) -> None:
        for task, rank in TASKS.items():
            finetune(
                model_class=name,
                data=EXAMPLES / f"{task}.jsonl",
                output=folder / task,
                rank=rank,
                learning_rate=5e-3,
                max_steps=40,
            )

    folder = once(f"trained-loras/{name}", write)
    return {task: folder / task for task in TASKS}


@pytest.fixture(scope="module")
def packages(
    base: Checkpoint, loras: dict[str, Path], once: Callable[..., Path]
) -> Callable[[str], Package]:
    name = base.adapter().name

    @cache
    def make(backend: str) -> Package:
        def write(folder: Path) -> None:
            export(
                model_class=name,
                output=folder,
                backend=backend,
                parity=False,
                # the operator takes one EOS id
                settings={**SETTINGS, "eos_token_id": _eos(base)},
                lora=list(loras.values()),
                lora_slots=[],
            )

        return open_package(once(f"with-trained-loras/{name}-{backend}", write))

    return make


def _eos(base: Checkpoint) -> int:
    ids = base.generation_config.eos_token_id
    return ids if isinstance(ids, int) else ids[0]


@pytest.mark.parametrize("rows", [1, 3])
def test_each_is_hf_and_peft_in_one_session(
    rows: int,
    base: Checkpoint,
    loras: dict[str, Path],
    packages: Callable[[str], Package],
) -> None:
    generator = Generator(packages("loop"))
    config = generator.search
    ids, mask = left_pad([generator.encode(text) for text in PROMPTS[:rows]], config.pad_token_id)
    answers = {}
    for turn, task in enumerate((None, "drugs", "animals", None)):
        model = base.with_lora(None if task is None else loras[task]).load_model()
        expected = Reference(model).generate(ids, mask, config)
        found = generator.search_ids(ids, mask, config, lora=task)
        assert found.sequences.tolist() == expected.sequences.tolist()
        assert abs(found.sequences_scores - expected.sequences_scores).max() < 2e-4
        assert (found.finish_reasons == 1).any(), "an EOS ends it"
        answers[turn] = found.sequences.tolist()
    assert answers[0] == answers[3], "nothing is left behind"
    assert len({str(answer) for answer in answers.values()}) == 3, "each says something else"


@pytest.mark.parametrize("base", ["biogpt"], indirect=True)
@pytest.mark.parametrize("backend", ["loop", pytest.param("contrib", marks=pytest.mark.slow)])
def test_each_passes_parity(
    backend: str,
    base: Checkpoint,
    loras: dict[str, Path],
    packages: Callable[[str], Package],
) -> None:
    """The quick grid and the tasks' own prompts; contrib by the rule of its operator."""
    package = packages(backend)
    prompts = [Generator(package, verify=False).encode(text) for text in PROMPTS]
    for task in (None, *loras):
        report = check_parity(
            package,
            base.with_lora(None if task is None else loras[task]),
            lora=task,
            prompts=prompts,
        )
        allowed = {"exact", "near-tie"} | ({"contrib rule"} if backend == "contrib" else set())
        assert {result.verdict.value for result in report.results} <= allowed
        assert report.count(type(report.verdict)("near-tie")) <= 1
