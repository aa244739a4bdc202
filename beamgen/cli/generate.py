"""``beamgen generate``: run a package on prompts."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import track

import beamgen
from beamgen.cli._constraint import constraint_options, taken_constraint, with_ids
from beamgen.cli._options import (
    LocalPath,
    check_reads,
    check_takes_special_tokens,
    common,
    decoder_prompt_options,
    parse_decoder_prompt,
    parse_ids,
)
from beamgen.cli._print import ERR, finite, status
from beamgen.cli._sections import SEARCH_SETTINGS, SectionedCommand, section
from beamgen.cli._settings import chosen_settings, search_settings, speech_settings


@click.command(
    cls=SectionedCommand,
    short_help="Generate from a package.",
    epilog="""\b
Examples:
  beamgen generate -m biogpt-onnx -p "aspirin is" --num-return-sequences 3
  beamgen generate -m phi3-onnx --chat -p "What is a doctor?"
  beamgen generate -m gpt2-onnx -f prompts.txt --json > out.jsonl
  echo "a bird is" | beamgen generate -m gpt2-onnx
  beamgen generate -m gpt2-onnx -p "a bird is" --do-sample --top-p 0.95 --seed 1
  beamgen generate -m biogpt-onnx -p "aspirin is" --catalogue labels.txt --json
  beamgen generate -m gpt2-onnx -p "aspirin is" --json-schema drug.json
  beamgen generate -m gpt2-onnx -p "aspirin is" --regex " an? [a-z]+" --stop-string ing
  beamgen generate -m biogpt-onnx -p "aspirin is" --lora drugs
  beamgen generate -m t5-onnx -p "translate English to German: a bird" --decoder-prompt "Ein"
  beamgen generate -m whisper-onnx --audio hello.wav --language en --return-timestamps
  beamgen generate -m nllb-onnx -p "a bird" --src-lang eng_Latn --tgt-lang deu_Latn
""",
)
@click.option("-m", "--model", required=True, help="Package folder that `export` wrote.")
@section(
    "Prompts",
    click.option("-p", "--prompt", "prompts", multiple=True, help="A prompt; repeatable."),
    click.option(
        "-f",
        "--file",
        type=LocalPath(allow_dash=True),
        metavar="FILE",
        help="One prompt per line; - is stdin. Piped stdin is read without it, too.",
    ),
    click.option("--ids", multiple=True, metavar='"1 2 3"', help="A prompt of ids; repeatable."),
    decoder_prompt_options,
    click.option(
        "--decoder-start-token-id",
        type=int,
        multiple=True,
        metavar="ID",
        help="With what it begins; repeat it to give each prompt its own.  "
        "[default: the checkpoint's]",
    ),
    click.option(
        "--src-lang",
        "--source-language",
        multiple=True,
        metavar="CODE",
        help="The language of the prompts, of many that a model has; repeatable likewise.",
    ),
    click.option(
        "--tgt-lang",
        "--target-language",
        multiple=True,
        metavar="CODE",
        help="The language to translate into: its token is the forced_bos_token_id; repeatable "
        "likewise.",
    ),
    click.option("--chat", is_flag=True, help="Put prompts through the chat template."),
    click.option(
        "--no-special-tokens",
        is_flag=True,
        help="Leave out what the tokenizer puts around every text, such as a BOS or an EOS.",
    ),
)
@section("What may be written", constraint_options)
@section(
    "Speech",
    click.option(
        "--audio",
        type=LocalPath(),
        multiple=True,
        metavar="FILE",
        help="What a model that hears is to write down; repeatable.",
    ),
    speech_settings,
)
@click.option(
    "--lora", "loras", multiple=True, help="A LoRA of the package; see `beamgen lora list`."
)
@click.option(
    "--output-scores", is_flag=True, default=None, help="With --json: each token's log-probability."
)
@section(
    "How it runs",
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=8,
        show_default=True,
        help="Prompts at a time.",
    ),
    click.option("--provider", multiple=True, help="ONNX Runtime execution provider; repeatable."),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Threads per operator.  [default: one per core]",
    ),
    click.option("--no-verify", is_flag=True, help="Do not compare files with their hashes."),
)
@section(SEARCH_SETTINGS, search_settings)
@common
def command(
    model: str,
    prompts: tuple[str, ...],
    file: Path | None,
    ids: tuple[str, ...],
    loras: tuple[str, ...],
    decoder_prompt: str | None,
    decoder_ids: str | None,
    decoder_start_token_id: tuple[int, ...],
    src_lang: tuple[str, ...],
    tgt_lang: tuple[str, ...],
    chat: bool,
    no_special_tokens: bool,
    audio: tuple[Path, ...],
    language: str | None,
    task: str | None,
    batch_size: int,
    provider: tuple[str, ...],
    threads: int | None,
    no_verify: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Generate from a package: the best hypotheses of each prompt, best first.

    Prints the text, as transformers would decode it; with several hypotheses
    their scores too. With --chat it prints the reply alone. --json prints one
    object per prompt and line. With --do-sample and --seed S, prompt i is drawn
    with seed S + i, whatever the batch size; a contrib package draws a whole batch
    with one seed.
    """
    texts = [*prompts, *_lines(file, bool(prompts or ids or audio)), *map(parse_ids, ids)]
    batch: list[Any] = texts or [*audio]
    if not batch:
        raise beamgen.BeamgenError(
            "no prompt was given", 'pass -p "TEXT", -f FILE, --ids, or pipe text in'
        )
    if no_special_tokens:
        check_takes_special_tokens(chat, any(isinstance(prompt, str) for prompt in batch))
    if values["output_scores"] and not as_json:
        raise beamgen.BeamgenError(
            "--output-scores was given, and what is printed as text has no room for them",
            "pass --json, too",
        )
    goes_on = parse_decoder_prompt(decoder_prompt, decoder_ids)
    said = taken_constraint(values)
    settings = chosen_settings(values)
    if len(loras) > 1:
        raise beamgen.BeamgenError(
            f"{len(loras)} LoRAs were named", "name one; in Python each prompt may have its own"
        )
    lora = next(iter(loras), None)
    package = beamgen.open_package(model, verify=False)
    _check_kind(package, texts, audio)
    package.manifest.search.with_overrides(settings)  # refuses what is wrong before it loads
    if lora is not None:
        package.lora_path(lora)
    _warn_of_divergence(package)
    with status(f"loading {model}"):
        generator = beamgen.Generator(
            model, providers=provider or None, threads=threads, verify=not no_verify
        )
        generator.check_lora(lora, len(batch))
        settings |= generator.resolved(with_ids(generator, said))
    ways = {
        "chat": chat,
        "lora": lora,
        "add_special_tokens": not no_special_tokens,
        "decoder_prompt": goes_on,
        "language": language,
        "task": task,
    }
    of_each = {
        name: _of_each(name, given, len(batch))
        for name, given in (
            ("decoder_start_token_id", decoder_start_token_id),
            ("src_lang", src_lang),
            ("tgt_lang", tgt_lang),
        )
    }
    searches = _generate(generator, batch, batch_size, ways, of_each, settings)
    for i, (prompt, hypotheses) in enumerate(searches):
        if as_json:
            named = str(prompt) if audio else prompt
            found = {"prompt": named, "hypotheses": [asdict(h) for h in hypotheses]}
            click.echo(json.dumps(finite(found), ensure_ascii=False, allow_nan=False))
        else:
            if i and len(hypotheses) > 1:
                click.echo()
            _show(hypotheses, chat, hears=bool(audio))


def _check_kind(package: beamgen.Package, texts: Sequence[Any], audio: Sequence[Path]) -> None:
    """Refuse text for a model that hears, and audio for one that reads."""
    if texts and audio:
        raise beamgen.BeamgenError(
            "prompts and --audio were given", "leave out what the package does not take"
        )
    if not audio:
        check_reads(package)
    elif package.manifest.features is None:
        raise beamgen.BeamgenError(
            f"{package.folder} reads text, and was given audio", 'pass -p "TEXT"'
        )


def _of_each(name: str, given: tuple[Any, ...], prompts: int) -> list[Any] | None:
    """An option that may be repeated for each prompt, and need not."""
    if given and len(given) not in (1, prompts):
        raise beamgen.BeamgenError(
            f"--{name.replace('_', '-')} was given {len(given)} times for {prompts} prompts",
            "give it once for all of them, or once for each",
        )
    return list(given) * (prompts // len(given)) if given else None


def _warn_of_divergence(package: beamgen.Package) -> None:
    """On stderr: who generates from a file that was found wrong should know."""
    if (package.manifest.parity or {}).get("verdict") == "diverged":
        click.echo(
            f"warning: {package.folder} diverged from transformers when it was compared; "
            f"beamgen parity -m {shlex.quote(str(package.folder))} shows where",
            err=True,
        )


def _generate(
    generator: beamgen.Generator,
    batch: Sequence[Any],
    batch_size: int,
    ways: dict[str, Any],
    of_each: dict[str, list[Any] | None],
    settings: dict[str, Any],
) -> Iterator[tuple[Any, list[beamgen.Generation]]]:
    """Search in batches, with a progress bar on a terminal where there are several."""
    groups = [batch[i : i + batch_size] for i in range(0, len(batch), batch_size)]
    hidden = not ERR.is_terminal or len(groups) == 1
    config = generator.search.with_overrides(settings)
    done = 0
    for group in track(groups, "generating", console=ERR, disable=hidden):
        own = dict(settings)
        if config.do_sample and config.seed is not None:
            own["seed"] = (config.seed + done) % generator.seeds
        rows = slice(done, done + len(group))
        theirs: dict[str, Any] = {name: each and each[rows] for name, each in of_each.items()}
        yield from zip(group, generator.generate(group, **ways, **theirs, **own), strict=True)
        done += len(group)


def _lines(path: Path | None, have_prompts: bool) -> list[str]:
    """Read prompts from the file, or from stdin where something is piped in."""
    if path is None and not have_prompts and sys.stdin is not None and not sys.stdin.isatty():
        path = Path("-")
    if path is None:
        return []
    try:
        # strict on stdin, too; and Windows marks UTF-8
        with click.open_file(str(path), encoding="utf-8-sig", errors="strict") as stream:
            return [line.rstrip("\r\n") for line in stream if line.strip()]
    except UnicodeDecodeError as error:
        raise beamgen.BeamgenError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}",
            "save it as UTF-8",
        ) from error
    except OSError as error:
        raise beamgen.BeamgenError(
            f"cannot read {path}: {error.strerror}", "check the path"
        ) from error


def _show(hypotheses: list[beamgen.Generation], chat: bool, hears: bool) -> None:
    if not hypotheses:
        click.echo("no continuation fits these settings", err=True)
    for hypothesis in hypotheses:
        text = hypothesis.text
        if text is None:
            text = " ".join(map(str, [*hypothesis.prompt_ids, *hypothesis.token_ids]))
        elif (chat or hears) and hypothesis.new_text is not None:
            text = hypothesis.new_text.strip()
        if hypothesis.segments and hypothesis.text is not None:
            text = "\n".join(
                f"{each.start:6.2f} {each.end:6.2f}  {(each.text or '').strip()}"
                for each in hypothesis.segments
            )
        click.echo(text if len(hypotheses) == 1 else f"{hypothesis.score:9.4f}  {text}")
