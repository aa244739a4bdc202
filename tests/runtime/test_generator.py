"""Generator: prompts of every form, HF's lengths, and what it refuses."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support.architectures import ARCHITECTURES

from beamgen import BeamgenError, Generator, Package, open_checkpoint, open_package
from beamgen.runtime.session import load_session

PROMPTS = [[5, 9, 7, 11, 30], [8, 3], [40, 41, 42]]


@pytest.fixture
def generator(generators: Callable[[str], Generator]) -> Generator:
    return generators("gpt2")


def _hf(folder: Path, prompts: list[list[int]], **settings):
    model = open_checkpoint(folder).load_model()
    longest = max(map(len, prompts))
    pad = model.config.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.no_grad():
        output = model.generate(
            ids,
            attention_mask=mask,
            num_beams=5,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
    return output.sequences[:, longest:].tolist(), output.sequences_scores.tolist()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 9},
        {"max_length": 14},
        {"max_length": 16, "min_length": 12},
        {"max_new_tokens": 12, "min_new_tokens": 6, "length_penalty": -1.0},
        {"max_new_tokens": 12, "early_stopping": "never", "num_return_sequences": 4},
    ],
)
def test_generate_equals_hf_on_unequal_prompts(
    name: str,
    settings: dict,
    generators: Callable[[str], Generator],
    checkpoints: Callable[[str], Path],
) -> None:
    settings = {**settings, "eos_token_id": [2, 45, 60]}
    found = [h for best in generators(name).generate(PROMPTS, **settings) for h in best]
    sequences, scores = _hf(checkpoints(name), PROMPTS, **settings)
    assert len(found) == len(sequences)
    for hypothesis, sequence, score in zip(found, sequences, scores, strict=True):
        assert sequence[: len(hypothesis.token_ids)] == hypothesis.token_ids
        assert hypothesis.score == pytest.approx(score, abs=1e-3)
        ended = hypothesis.token_ids[-1] in settings["eos_token_id"]
        assert hypothesis.finish_reason == ("eos" if ended else "length")


def test_a_batch_gives_what_each_prompt_gives_alone(generator: Generator) -> None:
    together = generator.generate(PROMPTS, num_return_sequences=3)
    alone = [generator.generate([prompt], num_return_sequences=3)[0] for prompt in PROMPTS]
    for row, single in zip(together, alone, strict=True):
        assert [h.token_ids for h in row] == [h.token_ids for h in single]
        assert [h.score for h in row] == pytest.approx([h.score for h in single], abs=1e-4)


def test_hypotheses_come_best_first(generator: Generator) -> None:
    (best,) = generator.generate([PROMPTS[0]], num_beams=8, num_return_sequences=8)
    scores = [hypothesis.score for hypothesis in best]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(h.token_ids) for h in best}) == 8


@pytest.mark.parametrize(
    "prompts",
    [[5, 9, 7], [[5, 9, 7]], (5, 9, 7), np.array([5, 9, 7]), np.array([[5, 9, 7]])],
    ids=["ids", "list of ids", "tuple", "array", "batch array"],
)
def test_one_prompt_in_every_form(generator: Generator, prompts) -> None:
    (best,) = generator.generate(prompts, max_new_tokens=4)
    assert best[0].prompt_ids == [5, 9, 7]
    assert len(best[0].token_ids) == 4


def test_greedy_search_equals_hf(generator: Generator, checkpoints: Callable[[str], Path]) -> None:
    found = generator.generate(PROMPTS, num_beams=1, max_new_tokens=20)
    for prompt, (hypothesis,) in zip(PROMPTS, found, strict=True):
        model = open_checkpoint(checkpoints("gpt2")).load_model()
        ids = torch.tensor([prompt])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False
        )
        assert output[0, len(prompt) :].tolist() == hypothesis.token_ids


@pytest.mark.parametrize("penalty", [-8.0, 30.0])
def test_greedy_search_knows_no_length_penalty(generator: Generator, penalty: float) -> None:
    settings = {"num_beams": 1, "max_new_tokens": 20, "eos_token_id": []}
    (plain,) = generator.generate([5, 6, 7], **settings)
    (penalised,) = generator.generate([5, 6, 7], length_penalty=penalty, **settings)
    assert penalised == plain
    assert len(plain[0].token_ids) == 20


@pytest.mark.parametrize(("penalty", "tokens"), [(-3.0, 200), (-8.0, 20), (30.0, 20)])
def test_a_penalty_out_of_range_is_refused(
    generator: Generator, penalty: float, tokens: int
) -> None:
    with pytest.raises(BeamgenError, match="beyond what a search can tell apart"):
        generator.generate([5, 6], length_penalty=penalty, max_new_tokens=tokens)


def test_per_row_parameters_give_each_row_its_own(generator: Generator) -> None:
    ids = np.array([[5, 9, 7], [8, 3, 12], [40, 41, 42]])
    per_row = {
        "max_new_tokens": np.array([4, 9, 6]),
        "min_new_tokens": np.array([0, 5, 2]),
        "length_penalty": np.array([0.0, -1.0, 2.0], np.float32),
    }
    shared = {"eos_token_id": np.array([2, 45, 60]), "num_return_sequences": np.array([5])}
    together = generator.session.run(
        None, {"input_ids": ids, "attention_mask": np.ones_like(ids), **shared, **per_row}
    )
    for row in range(3):
        alone = generator.session.run(
            None,
            {
                "input_ids": ids[row : row + 1],
                "attention_mask": np.ones((1, 3), np.int64),
                **shared,
                **{name: value[row : row + 1] for name, value in per_row.items()},
            },
        )
        width = alone[0].shape[2]
        assert np.array_equal(together[0][row, :, :width], alone[0][0])
        np.testing.assert_allclose(together[1][row], alone[1][0], rtol=1e-5)


def test_the_bare_file_needs_two_inputs(packages: Callable[[str], Package]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(packages("gpt2").model)
    ids = np.array([[5, 9, 7]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    sequences, scores = session.run(["sequences", "sequences_scores"], feeds)
    (expected,) = Generator(packages("gpt2")).generate([5, 9, 7])
    assert sequences[0, 0, 3:].tolist()[: len(expected[0].token_ids)] == expected[0].token_ids
    assert scores[0, 0] == pytest.approx(expected[0].score)


@pytest.mark.parametrize(
    ("prompts", "settings", "cause"),
    [
        ([[5, 6]], {"num_beams": 0}, "num_beams must be a whole number of at least 1, not 0"),
        ([[5, 6]], {"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences (3)"),
        ([[5, 6]], {"max_new_tokens": 0}, "max_new_tokens must be"),
        ([[5, 6]], {"max_new_token": 5}, "no generation setting called 'max_new_token' here"),
        ([[5, 6]], {"early_stopping": "sometimes"}, "early_stopping must be"),
        ([[5, 6]], {"length_penalty": float("nan")}, "length_penalty must be"),
        ([], {}, "no prompts were given"),
        ([[5, 96]], {}, "input_ids holds 96, which is outside the vocabulary of 96"),
        ([[5, -1]], {}, "input_ids holds -1"),
        ([[5, 6]], {"eos_token_id": [99]}, "eos_token_id holds 99"),
        ([[5] * 250], {"max_new_tokens": 7}, "250 prompt tokens + 7 new ones are 257"),
        ([[5] * 250], {"max_length": 250}, "leaves nothing to generate"),
        ("text", {}, "has no tokenizer"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    generator: Generator, prompts, settings: dict, cause: str
) -> None:
    with pytest.raises(BeamgenError) as error:
        generator.generate(prompts, **settings)
    assert cause in error.value.cause
    assert "\n" not in error.value.cause
    assert error.value.cure


@pytest.mark.parametrize(
    ("ids", "mask", "cause"),
    [
        ([[5, 6, 0]], [[1, 1, 0]], "padded on the right"),
        ([[5, 0, 6]], [[1, 0, 1]], "padded on the right"),
        ([[0, 5, 0, 6]], [[0, 1, 0, 1]], "masked in between"),
        ([[5, 6], [5, 6]], [[1, 1], [0, 0]], "row 1 is masked altogether"),
        ([[5, 6]], [[1, 1, 1]], "must be of the same shape"),
        ([[5, 6]], [[1, 2]], "other values than 0 and 1"),
    ],
)
def test_a_bad_mask_is_refused(generator: Generator, ids, mask, cause: str) -> None:
    with pytest.raises(BeamgenError, match=cause):
        generator.search_ids(np.array(ids), np.array(mask), generator.search)


def test_an_unknown_provider_is_refused(packages: Callable[[str], Package]) -> None:
    with pytest.raises(BeamgenError, match="no NoSuchProvider; it has"):
        Generator(packages("gpt2"), providers=["NoSuchProvider"])


def test_a_provider_that_onnx_runtime_leaves_out_is_told(
    packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NVIDIA's libraries it takes the CPU, and says so in its log alone."""
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(BeamgenError, match="left out CUDAExecutionProvider: its libraries"),
    ):
        Generator(packages("gpt2"), providers=names)


def test_the_runtime_needs_no_torch(packages: Callable[[str], Package]) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, optimum=None, onnxscript=None)\n"
        "from beamgen import Generator\n"
        "print(Generator(sys.argv[1]).generate([5, 9, 7], max_new_tokens=3)[0][0].token_ids)"
    )
    folder = str(packages("gpt2").folder)
    found = subprocess.run([sys.executable, "-c", code, folder], text=True, capture_output=True)
    assert found.returncode == 0, found.stderr
    (best,) = Generator(folder).generate([5, 9, 7], max_new_tokens=3)
    assert found.stdout.strip() == str(best[0].token_ids)


def test_generators_of_one_package_share_a_session(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    folder = shutil.copytree(packages("gpt2").folder, tmp_path / "package")
    first, second = Generator(folder, threads=1), Generator(open_package(folder), threads=1)
    assert second.session is first.session
    assert Generator(folder, threads=2).session is not first.session
    own = load_session(first.package, ["CPUExecutionProvider"], 1)
    assert Generator(folder, session=own).session is own
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: Generator(folder, threads=3), range(4)))
        found = list(pool.map(lambda each: each.generate([[5, 6, 7]]), made))
    assert len({id(each.session) for each in made}) == 1
    assert found == [first.generate([[5, 6, 7]])] * 4


def test_a_package_that_was_replaced_gets_a_session_of_its_own(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    folder = shutil.copytree(packages("gpt2").folder, tmp_path / "package")
    first = Generator(folder)
    shutil.rmtree(folder)
    shutil.copytree(packages("biogpt").folder, folder)
    second = Generator(folder)
    assert second.session is not first.session
    assert second.generate([[5, 6, 7]]) == Generator(packages("biogpt")).generate([[5, 6, 7]])


def test_a_session_that_nobody_holds_is_let_go(packages: Callable[[str], Package]) -> None:
    session = weakref.ref(Generator(packages("gpt2"), threads=5).session)
    gc.collect()
    assert session() is None
