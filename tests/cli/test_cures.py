"""What a message tells to type can be typed: the commands and options that messages name."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support.peft_folders import save_lora

from beamgen import FORMATS, Package, export
from beamgen.cli import main

ROOT = Path(__file__).parents[2]

_OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
#: A command, and what is typed behind it: options and stand-ins for their values.
_COMMAND = re.compile(
    r"beamgen ([a-z]+(?:-[a-z]+)*(?: [a-z]+)?)\b"
    r"((?: (?:--?[a-z][\w-]*|[A-Z0-9]\w*|\"[A-Z]+\"|\{\}(?!\{)))*)"
)
#: What belongs to other programs.
_FOREIGN = re.compile(r"(?:pip install|ffmpeg|ulimit|cp -rL) .*|olive --\w+|mkdir -p \S+|rm -r \S+")
#: Words that say which command an option is for, where it is not the one that was typed.
_VERBS = {"export": "export", "generat": "generate", "train": "finetune"}

_OF_A_CHECKPOINT = ("export", "finetune", "parity", "quantize", "package genai", "lora convert")
_OF_SETTINGS = ("export", "generate", "explain", "package triton")
_FORMATS = tuple(f"package {name}" for name in FORMATS)
#: The commands that show the messages of a module; the longest beginning counts.
SHOWN_BY = {
    "audio": ("generate",),
    "batch": ("batch",),
    "bench": ("bench",),
    "checkpoint/checkpoint": (*_OF_A_CHECKPOINT, "bench"),
    "checkpoint/files": ("export", "finetune"),
    "checkpoint/load": ("export", "finetune", "bench"),
    "checkpoint/lora_source": ("lora convert",),
    "checkpoint/quantization": ("export",),
    "checkpoint/resolve": ("export",),
    "checkpoint/same_tensors": ("export", "finetune", "bench"),
    "decoder": ("export",),
    "doctor": ("doctor",),
    "doctor/instructions": ("export",),
    "explain": ("explain",),
    "export": ("export",),
    "export/add_lora": ("lora convert",),
    "export/requantize": ("quantize",),
    "formats/package_as": _FORMATS,
    **{f"formats/{name}": (f"package {name}",) for name in FORMATS},
    "cli/_options": ("generate", "explain"),
    "cli/_constraint": ("constrain", "generate"),
    "cli/_settings": _OF_SETTINGS,
    "cli/_usage": _OF_SETTINGS,
    "lora": ("export", "lora convert", "lora check"),
    "new_adapter": ("new-adapter",),
    "package/folder": ("generate", "parity", "lora list"),
    "package/folders": ("export", "finetune", "quantize", *_FORMATS),
    "package/source": ("parity",),
    "parity": ("parity",),
    "quantization": ("export", "quantize"),
    "registry": ("export", "finetune"),
    "runtime": ("generate",),
    "settings": _OF_SETTINGS,
    "settings/config": ("export",),
    "settings/contrib": ("export", "generate"),
    "settings/contrib_inputs": ("generate",),
    "settings/hf_fields": ("export",),
    "settings/processors/constraint": ("generate",),
    "settings/stopping": ("export",),
    "tokenizer/vocabulary": ("generate",),
    "training": ("finetune",),
}


@dataclass(frozen=True)
class Message:
    """A string of the source that names a command or an option; ``{}`` is what is put in."""

    module: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}"


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
    )


def _strings(tree: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    """All but docstrings and the parts of longer ones."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.JoinedStr) or (
            isinstance(child, ast.Constant) and isinstance(child.value, str)
        ):
            if not isinstance(tree, ast.Expr):
                yield child
        else:
            yield from _strings(child)


def _raised() -> Iterator[Message]:
    """Of modules that raise errors; what the command line prints is typed in other tests, too."""
    for path in sorted((ROOT / "beamgen").rglob("*.py")):
        module = path.relative_to(ROOT / "beamgen").with_suffix("").as_posix()
        if module.endswith("/command") or "/contestants/" in module:
            continue  # options that are defined, not named
        for node in _strings(ast.parse(path.read_text(encoding="utf-8"))):
            text = _text(node)
            prose = " " in text and "\n" not in text and "docker run" not in text
            named = _COMMAND.search(text) or _OPTION.search(text)
            if prose and named and not text.startswith(("npm ", "python ")):
                yield Message(module, node.lineno, text)


MESSAGES = list(_raised())


def _commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path}{name} ")


COMMANDS = dict(_commands(main))
LEAVES = {path: c for path, c in COMMANDS.items() if not isinstance(c, click.Group)}


def _spellings(command: click.Command) -> set[str]:
    return {
        word
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for word in (*parameter.opts, *parameter.secondary_opts)
    }


def _shown_by(module: str) -> tuple[str, ...]:
    parts = module.split("/")
    for length in range(len(parts), 0, -1):
        found = SHOWN_BY.get("/".join(parts[:length]))
        if found is not None:
            return found
    assert parts[0] == "cli", f"say in SHOWN_BY which commands show the messages of {module}"
    own = tuple(path for path in LEAVES if path.split()[0] == parts[1])
    return own or tuple(LEAVES)


def test_messages_are_found() -> None:
    texts = {message.text for message in MESSAGES}
    assert "pass --force to replace it, or another --output" in texts
    assert "merge it instead: beamgen export --lora {}" in texts
    assert len(texts) > 80


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_a_command_that_a_message_names_can_be_typed(message: Message) -> None:
    for named in _COMMAND.finditer(message.text):
        words, typed = named[1].split(), shlex.split(named[2])
        group = COMMANDS.get(words[0])
        if group is None:
            prose = {"builds", "cannot", "is", "of", "page", "reads"}
            assert words[0] in prose, f"`beamgen {words[0]}`"
            continue  # "beamgen builds graphs": the project, not a command
        path = words[0]
        if isinstance(group, click.Group) and len(words) > 1:
            path = " ".join(words)
            assert path in COMMANDS, f"`beamgen {path}`"
        if typed:
            _parse(path, typed)


def _parse(path: str, typed: list[str]) -> None:
    """Let click read what stands behind a command; raises what it would print."""
    command, given = LEAVES[path], typed.copy()
    for place, word in enumerate(typed):
        if word == "{}":
            kinds = [p.type for p in command.params if {typed[place - 1]} & {*p.opts}]
            choices = [kind.choices for kind in kinds if isinstance(kind, click.Choice)]
            given[place] = str(choices[0][0]) if choices else "1"
    command.make_context(path, given)


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_an_option_that_a_message_names_exists_where_it_is_shown(message: Message) -> None:
    for sentence in _FOREIGN.sub("", _COMMAND.sub("", message.text)).split(";"):
        for option in _OPTION.finditer(sentence):
            verbs = re.findall(rf"\b({'|'.join(_VERBS)})", sentence[: option.start()])
            commands = [_VERBS[verbs[-1]]] if verbs else _shown_by(message.module)
            for path in commands:
                assert option[0] in _spellings(LEAVES[path]), path


def test_every_command_has_what_all_messages_may_name() -> None:
    for path, command in LEAVES.items():
        assert {"--json", "--debug"} <= _spellings(command), path
        assert "Example" in (command.epilog or ""), path


# ---------------------------------------------------------------- typed for real


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """``run("beamgen list")`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda line: CliRunner().invoke(main, shlex.split(line)[1:])


def _typed(text: str, found: str = r"beamgen .*") -> str:
    match = re.search(found, text)
    assert match is not None, text
    return match[0]


def test_a_package_that_exists_is_replaced_with_force(
    run: Callable[..., Result], checkpoints: Callable[[str], Path]
) -> None:
    line = f"beamgen export -m {checkpoints('gpt2')} -o package --no-parity"
    assert run(line).exit_code == 0
    refused = run(line)
    assert "fix: pass --force to replace it, or another --output" in refused.stderr
    assert run(f"{line} --force").exit_code == 0
    assert run(line.replace("-o package", "-o other")).exit_code == 0


def test_what_a_file_cannot_honour_is_reset_as_the_message_says(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "sampler"))
    settings = {"pad_token_id": 0, "guidance_scale": 1.5, "penalty_alpha": 0.6}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    line = "beamgen export -m sampler --no-parity"
    resets = _typed(run(line).stderr, r"--set .*")
    ended = _typed(run(f"{line} {resets}").stderr, r"--eos-token-id none")
    assert run(f"{line} {resets} {ended}").exit_code == 0


def test_a_lora_that_slots_cannot_take_is_merged_as_the_message_says(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Also from a folder whose name has a space in it."""
    save_lora(checkpoints("gpt2"), tmp_path / "my loras" / "dora", use_dora=True)
    line = f"beamgen export -m {checkpoints('gpt2')} --no-parity -o package --lora 'my loras/dora'"
    refused = run(f"{line} --lora-slots")
    merged = run(f"{_typed(refused.stderr)} --no-parity -o merged")
    assert merged.exit_code == 0, merged.output
    assert "merged: the LoRA" in merged.stdout


def test_a_lora_without_a_slot_or_a_name_is_added_as_the_messages_say(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    save_lora(checkpoints("gpt2"), tmp_path / "my lora")
    line = f"beamgen export -m {checkpoints('gpt2')} --no-parity -o package"
    assert run(line).exit_code == 0
    refused = run("beamgen lora convert 'my lora' -m package --name drugs --no-parity")
    assert "fix: export the checkpoint with --lora-slots" in refused.stderr
    unnamed = run(f"{line} --force --lora-slots --lora 'my lora'")
    assert run(f"{line} --force --lora-slots").exit_code == 0
    cure = _typed(unnamed.stderr)
    cure = cure.replace("PEFT_DIR", "'my lora'").replace("PACKAGE", "package")
    added = run(f"{cure.replace('NAME', 'drugs')} --no-parity")
    assert added.exit_code == 0, added.output

    (tmp_path / "package" / "adapters" / "drugs.onnx_adapter").unlink()
    listed = json.loads(run("beamgen lora list -m package --json").stdout)
    assert run(_typed(listed["loras"][0]["problem"])).exit_code == 0
    assert json.loads(run("beamgen lora list -m package --json").stdout)["loras"] == []


def test_a_lora_that_cannot_be_compared_any_more_is_taken_out_as_the_message_says(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    lora = save_lora(checkpoints("gpt2"), tmp_path / "gone")
    export(checkpoints("gpt2"), tmp_path / "package", parity=False, lora_slots=[], lora=[lora])
    shutil.rmtree(lora)
    line = "beamgen quantize package --precision fp16"
    refused = run(line)
    assert "'gone' was made from" in refused.stderr
    assert run(f"{line} --no-parity").exit_code == 0
    assert run(_typed(refused.stderr)).exit_code == 0
    assert "gone" not in run("beamgen lora list -m package").stdout


def test_an_edited_package_is_taken_as_the_message_says(
    run: Callable[..., Result], packages: Callable[[str], Package], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(packages("gpt2").folder, tmp_path / "package"))
    with (folder / "config.json").open("a") as stream:
        stream.write("\n")
    refused = run("beamgen parity -m package")
    assert run(f"{_typed(refused.stderr)} --ids '5 9' --max-new-tokens 2").exit_code == 0


def test_a_checkpoint_that_moved_is_named_as_the_message_says(
    run: Callable[..., Result],
    packages: Callable[[str], Package],
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(packages("gpt2").folder, tmp_path / "package"))
    values = json.loads((folder / "beamgen.json").read_text())
    values["source"]["model"] = str(tmp_path / "moved")
    (folder / "beamgen.json").write_text(json.dumps(values))
    for command in ("parity -m package", "quantize package", "package genai -m package"):
        assert "fix: name it with --checkpoint" in run(f"beamgen {command}").stderr
    named = f"--checkpoint {checkpoints('gpt2')}"
    assert run(f"beamgen quantize package --precision fp16 --no-parity {named}").exit_code == 0


def test_what_one_request_cannot_have_of_a_batch_is_set_as_the_messages_say(
    run: Callable[..., Result], packages: Callable[[str], Package]
) -> None:
    line = f"beamgen package triton -m {packages('gpt2').folder}"
    for options, cure in (
        ("--inputs temperature", "--do-sample"),
        ("--inputs num_beams", "--batching simple"),
        ("--inputs no_repeat_ngram_size --batching ragged", "--batching dynamic"),
    ):
        assert cure in run(f"{line} -o one {options}").stderr
    assert run(f"{line} -o one --inputs temperature,seed --do-sample").exit_code == 0
    assert run(f"{line} -o two --batching simple").exit_code == 0
    assert run(f"{line} -o three --inputs no_repeat_ngram_size --batching dynamic").exit_code == 0
