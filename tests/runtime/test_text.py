"""Text in, text out: the demo checkpoints' own tokenizers, against transformers' decode."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from support.architectures import ARCHITECTURES
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import BeamgenError, Generator, Package, find_adapter

PROMPTS = ["a person who", "the act of making something new", "medicine:"]
SETTINGS = {"num_beams": 4, "max_new_tokens": 12, "num_return_sequences": 3}


@pytest.fixture(scope="module")
def generators(demos: Callable[[str], Package]) -> Callable[[str], Generator]:
    return cache(lambda name: Generator(demos(name)))


def _hf(name: str, inputs: Callable, **settings) -> list[str]:
    """Whole texts; ``inputs`` makes the model's from a tokenizer that pads on the left."""
    demo = find_adapter(name).demo
    tokenizer = AutoTokenizer.from_pretrained(demo, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(demo).eval()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with torch.no_grad():
        output = model.generate(**inputs(tokenizer), **settings)
    return tokenizer.batch_decode(output, skip_special_tokens=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_of_text_is_what_transformers_decodes(
    name: str, generators: Callable[[str], Generator]
) -> None:
    found = generators(name).generate(PROMPTS, **SETTINGS)
    expected = _hf(name, lambda t: t(PROMPTS, return_tensors="pt", padding=True), **SETTINGS)
    assert [hypothesis.text for best in found for hypothesis in best] == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prompt_and_new_text_make_the_text(
    name: str, generators: Callable[[str], Generator]
) -> None:
    generator = generators(name)
    tokenizer = AutoTokenizer.from_pretrained(find_adapter(name).demo)
    for prompt, best in zip(PROMPTS, generator.generate(PROMPTS, **SETTINGS), strict=True):
        for hypothesis in best:
            assert hypothesis.text == prompt + hypothesis.new_text
            assert hypothesis.prompt_ids == tokenizer(prompt)["input_ids"]


def test_text_and_its_ids_give_the_same(generators: Callable[[str], Generator]) -> None:
    generator = generators("biogpt")
    ids = generator.encode(PROMPTS[0])
    assert generator.generate(PROMPTS[0]) == generator.generate([ids])
    assert generator.generate([PROMPTS[0], ids])[0] == generator.generate([PROMPTS[0], ids])[1]


def test_chat_in_every_form(generators: Callable[[str], Generator]) -> None:
    generator = generators("phi3")
    question = "What is a whale?"
    messages = [{"role": "user", "content": question}]
    alone = generator.generate(question, chat=True, **SETTINGS)
    assert generator.generate(messages, **SETTINGS) == alone
    assert generator.generate([messages], **SETTINGS) == alone
    assert generator.generate(question, **SETTINGS) != alone, "plain text is no message"
    expected = _hf(
        "phi3",
        lambda tokenizer: tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ),
        **SETTINGS,
    )
    assert [hypothesis.text for hypothesis in alone[0]] == expected


def test_a_longer_chat_keeps_its_roles(generators: Callable[[str], Generator]) -> None:
    generator = generators("phi3")
    chat = [
        {"role": "user", "content": "What is a whale?"},
        {"role": "assistant", "content": "A large animal."},
        {"role": "user", "content": "What is a doctor?"},
    ]
    expected = AutoTokenizer.from_pretrained(find_adapter("phi3").demo).apply_chat_template(
        chat, add_generation_prompt=True, return_dict=True
    )
    assert generator.encode(chat) == expected["input_ids"]
    assert generator.generate(chat, max_new_tokens=2)[0][0].prompt_ids == expected["input_ids"]


def test_messages_without_a_template_are_refused(generators: Callable[[str], Generator]) -> None:
    with pytest.raises(BeamgenError, match="has no chat template"):
        generators("gpt2").generate([{"role": "user", "content": "hello"}])


@pytest.mark.parametrize("empty", ["", []])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_empty_prompt_begins_as_generate_does_without_one(
    name: str, empty: str | list[int], generators: Callable[[str], Generator]
) -> None:
    """With the BOS; and the other rows of the batch are searched as well."""
    model = AutoModelForCausalLM.from_pretrained(find_adapter(name).demo).eval()
    tokenizer = AutoTokenizer.from_pretrained(find_adapter(name).demo)
    begun = torch.tensor([ids]) if empty == "" and (ids := tokenizer("")["input_ids"]) else None
    with torch.no_grad():
        expected = model.generate(begun, **SETTINGS).tolist()
    alone, filled = generators(name).generate([empty, PROMPTS[0]], **SETTINGS)
    (full,) = generators(name).generate(PROMPTS[0], **SETTINGS)
    assert [each.token_ids for each in filled] == [each.token_ids for each in full]
    for found, ids in zip(alone, expected, strict=True):
        assert [*found.prompt_ids, *found.token_ids] == ids[: 1 + len(found.token_ids)]


def test_a_prompt_longer_than_the_model_is_refused(
    generators: Callable[[str], Generator],
) -> None:
    generator = generators("gpt2")
    positions = generator.package.manifest.limits.max_positions
    with pytest.raises(BeamgenError, match=f"the model has {positions} positions") as error:
        generator.generate("word " * (2 * positions))
    assert error.value.cure == "shorten the prompt"


@pytest.mark.parametrize(
    "prompt",
    [
        None, 5, 2.5, [2.5, 3.0], [[2.5, 3.0]], [["5", "9"]], [None], [[[5, 9]]],
        {"input_ids": [[5, 9]]}, {"role": "user", "content": "hello"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_prompt_is_refused(
    generators: Callable[[str], Generator], prompt: object
) -> None:
    """Numbers are not rounded, and a tokenizer's whole output is not taken for its keys."""
    with pytest.raises(BeamgenError, match="a prompt is text, token ids or chat messages, not"):
        generators("phi3").generate(prompt, max_new_tokens=1)


def test_prompts_of_other_libraries(generators: Callable[[str], Generator]) -> None:
    generator = generators("gpt2")
    expected = generator.generate([[5, 9, 7], [8, 3, 4]], max_new_tokens=3)
    batch = torch.tensor([[5, 9, 7], [8, 3, 4]])
    assert generator.generate(batch, max_new_tokens=3) == expected
    assert generator.generate((row for row in batch.numpy()), max_new_tokens=3) == expected
