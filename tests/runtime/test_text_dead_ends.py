"""Text that a package cannot read: it says why in a line, and what it can do it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.architectures import ARCHITECTURES
from support.retold import generator_of, with_files
from transformers import AutoTokenizer

from beamgen import BeamgenError, Generator, Package, explain, find_adapter
from beamgen.errors import BeamgenWarning

Demos = Callable[[str], Package]

#: Ways in which a tokenizer does not load, and a part of what is said.
DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "damaged file": ({"tokenizer_json": "{"}, "cannot load the tokenizer"),
    "damaged config": ({"tokenizer_config_json": "[" * 100_000}, "cannot load the tokenizer"),
    "python code": (
        {
            "tokenizer_json": None,
            "tokenizer_config_json": {
                "tokenizer_class": "Own",
                "auto_map": {"AutoTokenizer": ["own.Own", None]},
            },
        },
        "cannot load the tokenizer",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_ids_need_no_tokenizer(name: str, demos: Demos, tmp_path: Path) -> None:
    files, said = DAMAGED[name]
    package = with_files(demos("gpt2"), tmp_path / "package", **files)
    generator = generator_of(package)
    with pytest.raises(BeamgenError, match=said):
        generator.generate("text", max_new_tokens=2)
    (expected,) = Generator(demos("gpt2")).generate([[5, 6, 7]], max_new_tokens=3)
    with pytest.warns(BeamgenWarning, match=f"token ids, and no text: {said}"):
        (found,) = generator.generate([[5, 6, 7]], max_new_tokens=3)
    generator.generate([[5, 6, 7]], max_new_tokens=3)  # warned, and a warning is an error here
    assert [each.token_ids for each in found] == [each.token_ids for each in expected]
    assert {(each.text, each.new_text) for each in found} == {(None, None)}
    with pytest.warns(BeamgenWarning, match=said):
        assert explain(package, [5, 6, 7], max_new_tokens=3).text is None


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a \udcff b", "character 3 is the byte 0xFF"),
        ("ab\ud83d", "character 3 is U\\+D83D"),
        ("\udc41", "character 1 is U\\+DC41"),
    ],
)
def test_what_is_no_unicode_is_named_with_its_place(
    name: str, text: str, said: str, demos: Demos
) -> None:
    generator = Generator(demos(name))
    with pytest.raises(BeamgenError, match=f"the text is no Unicode: {said}"):
        generator.generate(["fine", text], max_new_tokens=1)
    with pytest.raises(BeamgenError, match="is no Unicode"):
        generator.catalogue([text])


def test_a_message_with_no_unicode(demos: Demos) -> None:
    with pytest.raises(BeamgenError, match="message 1 of 1: the text is no Unicode: character 1"):
        Generator(demos("phi3")).encode("\ud800", chat=True)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('roles must alternate') }}", "these messages: roles must alternate"),
        ("{{ messages[7]['content'] + 'x' }}", "does not take these messages: "),
        ("{{ messages[0]['content'].nothing() }}", "does not take these messages: "),
        ("{{ (1).__class__.__mro__ }}", "does not take these messages: access to attribute"),
        ("{% for m in messages %}", "template is damaged: Unexpected end of template"),
        ("{{ 1 / 0 }}", "does not take these messages: division by zero"),
        ("", "has no chat template"),
    ],
)
def test_a_template_that_fails_says_what_it_says(
    template: str, said: str, demos: Demos, tmp_path: Path
) -> None:
    generator = generator_of(
        with_files(demos("phi3"), tmp_path / "package", chat_template_jinja=template)
    )
    with pytest.raises(BeamgenError, match=said) as caught:
        generator.generate("hi", chat=True)
    assert "plain text" in caught.value.cure
    assert generator.generate("hi", max_new_tokens=1)[0][0].text


def test_templates_of_which_none_is_the_default(demos: Demos, tmp_path: Path) -> None:
    package = with_files(
        demos("phi3"),
        tmp_path / "package",
        chat_template_jinja=None,
        tokenizer_config_json={
            "chat_template": [
                {"name": "tool_use", "template": "{{ messages }}"},
                {"name": "rag", "template": "{{ messages }}"},
            ]
        },
    )
    with pytest.raises(BeamgenError, match="called rag, tool_use, and none of them is the default"):
        generator_of(package).generate("hi", chat=True)


@pytest.mark.parametrize("form", ["list", "dict", "folder"])
def test_the_default_of_several_templates(form: str, demos: Demos, tmp_path: Path) -> None:
    templates = {"default": "{{ bos_token }}{{ messages[0].content }}!", "rag": "nothing"}
    stored: Any = templates
    if form == "list":
        stored = [{"name": name, "template": text} for name, text in templates.items()]
    package = with_files(
        demos("phi3"),
        tmp_path / "package",
        chat_template_jinja=templates["default"] if form == "folder" else None,
        tokenizer_config_json={} if form == "folder" else {"chat_template": stored},
    )
    if form == "folder":
        (package.folder / "additional_chat_templates").mkdir()
        (package.folder / "additional_chat_templates" / "rag.jinja").write_text(templates["rag"])
    hf = AutoTokenizer.from_pretrained(package.folder)
    expected = hf.apply_chat_template([{"role": "user", "content": "hi"}], return_dict=True)
    assert generator_of(package).encode("hi", chat=True) == expected["input_ids"]
    assert hf.decode(expected["input_ids"]).endswith("hi!")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": "hi"}, "message 2 of 2 has no role"),
        ({"role": 3, "content": "hi"}, "message 2 of 2 has no role"),
        ({"role": "user"}, "message 2 of 2 has no content"),
        ({"role": "user", "content": None}, "message 2 of 2 has no content"),
        ({"role": "user", "content": 7}, "message 2 of 2 has no content"),
    ],
)
def test_a_message_without_its_parts(message: Any, said: str, demos: Demos) -> None:
    with pytest.raises(BeamgenError, match=said) as caught:
        Generator(demos("phi3")).generate([[{"role": "system", "content": "x"}, message]])
    assert '{"role": "user", "content": "text"}' in caught.value.cure


@pytest.fixture
def ending(demos: Demos, tmp_path: Path) -> Generator:
    """Of a tokenizer that ends every text with the EOS, as BERT's and T5's do."""
    stored = json.loads((demos("gpt2").folder / "tokenizer.json").read_text())
    eos = next(token for token in stored["added_tokens"] if token["content"] == "<|endoftext|>")
    around = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": eos["content"], "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            eos["content"]: {
                "id": eos["content"], "ids": [eos["id"]], "tokens": [eos["content"]]
            }
        },
    }  # fmt: skip
    files = {"tokenizer_json": {"post_processor": around}}
    return generator_of(with_files(demos("gpt2"), tmp_path / "package", **files))


def test_an_eos_behind_a_prompt_is_told_of_once_and_can_be_left_out(
    ending: Generator, demos: Demos
) -> None:
    plain = Generator(demos("gpt2"))
    with pytest.warns(BeamgenWarning, match=r"ends the prompt with <\|endoftext\|>, an EOS"):
        (found,) = ending.generate(["a person who"], max_new_tokens=4)
    ending.generate(["a doctor is", "a bird is"], max_new_tokens=1)
    eos = plain.search.eos_token_id[0]
    assert found[0].prompt_ids == [*plain.encode("a person who"), eos]
    without = ending.generate("a person who", add_special_tokens=False, max_new_tokens=4)
    assert without == plain.generate("a person who", max_new_tokens=4)
    assert explain(
        ending.package, "a person who", add_special_tokens=False, max_new_tokens=2, num_beams=2
    ).ids == tuple(plain.encode("a person who"))


def test_a_bos_that_is_the_eos_is_no_ending(demos: Demos) -> None:
    """BioGPT begins every text with </s>, the empty one, too; and a warning is an error here."""
    generator = Generator(demos("biogpt"))
    generator.generate(["aspirin is", "", "ends with </s>"], max_new_tokens=1)
    bare = generator.encode("aspirin is", add_special_tokens=False)
    assert generator.encode("aspirin is") == [generator.search.eos_token_id[0], *bare]


def test_a_tokenizer_larger_than_the_model(demos: Demos, tmp_path: Path) -> None:
    stored = json.loads((demos("phi3").folder / "tokenizer.json").read_text())
    size = demos("phi3").manifest.vocab_size
    late = {**stored["added_tokens"][0], "id": size, "content": "<late>", "special": False}
    package = with_files(
        demos("phi3"),
        tmp_path / "package",
        tokenizer_json={"added_tokens": [*stored["added_tokens"], late]},
    )
    generator = generator_of(package)
    assert generator.generate("a doctor", max_new_tokens=1)
    with pytest.raises(BeamgenError, match=f"larger than the model: '<late>' is its token {size}"):
        generator.generate("a <late> doctor", max_new_tokens=1)


def test_an_empty_prompt_without_a_bos(demos: Demos, tmp_path: Path) -> None:
    files = {"generation_config_json": {"bos_token_id": None}}
    package = with_files(demos("gpt2"), tmp_path / "package", **files)
    with pytest.raises(BeamgenError, match=r"prompt 2 of 2 is empty, and .* names no bos_token_id"):
        generator_of(package).generate([[5], []], max_new_tokens=1)
    package = with_files(demos("gpt2"), tmp_path / "other", generation_config_json="{")
    with pytest.raises(BeamgenError, match="names no bos_token_id"):
        generator_of(package).generate("", max_new_tokens=1)


def test_a_tokenizer_of_another_class_is_hf_s_to_read(demos: Demos, tmp_path: Path) -> None:
    """Its ids come from transformers: nothing is known of what the class does to a text."""
    package = with_files(
        demos("gpt2"),
        tmp_path / "package",
        tokenizer_config_json={"tokenizer_class": "BartTokenizer"},
    )
    hf = AutoTokenizer.from_pretrained(find_adapter("gpt2").demo)
    generator = generator_of(package)
    assert generator.tokenizer is not None
    assert generator.tokenizer.name == "BartTokenizer"
    assert generator.encode("a doctor is") == hf("a doctor is")["input_ids"]
