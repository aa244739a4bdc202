"""Every row gets what it gets alone; results come in order, failures apart, once each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batches import check_same, one_by_one, read_jsonl, token_rows, write_jsonl

import beamgen
from beamgen import BeamgenError, Generator, Package
from beamgen.batch import collect
from beamgen.batch.reading import rows as reading
from beamgen.errors import BatchError, InputError

EOS = (2, *range(10, 20))


def _run(package: Package, rows: list[dict[str, Any]], folder: Path, **options: Any) -> Any:
    folder.mkdir(exist_ok=True)
    path = write_jsonl(folder / "prompts.jsonl", rows)
    options = {"column": "ids", "processes": 1, **options}
    return beamgen.batch(package, path, folder / "out", **options)


MODES: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 4, "num_return_sequences": 3},
    "beams, as greedy": {"num_beams": 1},
    "drawn": {"num_beams": 1, "do_sample": True, "num_return_sequences": 2},
    "drawn beams": {"num_beams": 3, "num_return_sequences": 3, "do_sample": True},
    "repetition_penalty": {"num_beams": 4, "repetition_penalty": 1.4},
    "no_repeat_ngram_size": {"num_beams": 4, "no_repeat_ngram_size": 2},
    "encoder_no_repeat_ngram_size": {"num_beams": 4, "encoder_no_repeat_ngram_size": 1},
    "max_length": {"num_beams": 4, "max_length": 30, "max_new_tokens": None},
    "min_length": {"num_beams": 4, "min_length": 16},
    "bad_words_ids": {"num_beams": 4, "bad_words_ids": [[5, 9], [7]]},
    "forced_bos_token_id": {"num_beams": 4, "forced_bos_token_id": 9},
    "begin_suppress_tokens": {"num_beams": 4, "begin_suppress_tokens": [5, 6, 7, 8]},
    "scores": {"num_beams": 4, "output_scores": True},
    "scores of draws": {
        "num_beams": 1,
        "do_sample": True,
        "num_return_sequences": 2,
        "output_scores": True,
    },
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "phi3"])
def test_a_row_gets_what_it_gets_alone(
    mode: str, name: str, generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    """Two rows in three are of one token less or more than others: a batch pads them."""
    generator = generators(name)
    rows = token_rows(24, generator.package.manifest.vocab_size, seed=len(mode))
    settings = {"max_new_tokens": 9, "eos_token_id": EOS, **MODES[mode]}
    settings = {name: value for name, value in settings.items() if value is not None}
    drawn = settings.get("do_sample")
    report = _run(generator.package, rows, tmp_path, **settings, **({"seed": 40} if drawn else {}))
    assert report.answered_rows == 24
    results = read_jsonl(report.results)
    assert [row["id"] for row in results] == list(range(24))
    if drawn:
        rows = [{**row, "seed": 40 + i} for i, row in enumerate(rows)]
    check_same(results, one_by_one(generator, rows, "ids", **settings))


def test_prompts_are_padded_where_nothing_sees_it(
    generators: Callable[[str], Generator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above is of padded batches; and a penalty takes equal lengths."""
    widths: list[set[int]] = []
    answer = Generator.answer

    def watch(self: Generator, requests: Any) -> Any:
        widths.append({len(request.prompt) for request in requests})
        return answer(self, requests)

    monkeypatch.setattr(Generator, "answer", watch)
    package = generators("gpt2").package
    rows = token_rows(16, package.manifest.vocab_size)
    _run(package, rows, tmp_path / "a", max_new_tokens=3)
    assert len(widths) == 1
    assert len(widths[0]) > 8
    widths.clear()
    _run(package, rows, tmp_path / "b", max_new_tokens=3, repetition_penalty=1.2)
    assert len(widths) > 8
    assert {len(width) for width in widths} == {1}


def test_each_row_may_have_its_own_settings(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    generator = generators("gpt2")
    rows = token_rows(12, generator.package.manifest.vocab_size)
    rows[1] |= {"num_beams": 2, "num_return_sequences": 2}
    rows[2] |= {"max_new_tokens": 3, "length_penalty": -0.5}
    rows[3] |= {"do_sample": True, "num_beams": 1, "temperature": 1.7, "seed": 5}
    rows[4] |= {"catalogue": [[5, 9, 7], [5, 8], [11]]}
    rows[5] |= {"eos_token_id": [3, 4], "repetition_penalty": 1.3}
    rows[6] |= {"catalogue": [[5, 9, 7], [5, 8], [11]], "num_beams": 3}
    rows[7] |= {"max_new_tokens": None}
    rows[8] |= {"top_p": 0.5}  # nothing is drawn
    rows[9] |= {"num_beams": 0}
    settings = {"max_new_tokens": 8, "num_beams": 4}
    report = _run(generator.package, rows, tmp_path, **settings)
    alone = one_by_one(generator, rows, "ids", **settings)
    found = [each for each in alone if not isinstance(each, BeamgenError)]
    assert len(found) == 10
    check_same(read_jsonl(report.results), found)
    failures = read_jsonl(report.failed)
    assert [failure["row"] for failure in failures] == [9, 10]
    refused = [each for each in alone if isinstance(each, BeamgenError)]
    assert [f["reason"] for f in failures] == [each.cause for each in refused]
    assert [f["fix"] for f in failures] == [each.cure for each in refused]


def test_columns_called_like_settings_may_be_carried_along(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    package = generators("gpt2").package
    rows = [{**row, "seed": "of doubt"} for row in token_rows(3, 90)]
    report = _run(package, rows, tmp_path, settings_from_columns=False, max_new_tokens=3)
    assert [row["seed"] for row in read_jsonl(report.results)] == ["of doubt"] * 3


def test_odd_rows_fail_alone(generators: Callable[[str], Generator], tmp_path: Path) -> None:
    package = generators("gpt2").package
    longest = package.manifest.limits.max_positions
    good = {"ids": [5, 9, 7]}
    odd: list[Any] = [
        {"ids": [5] * (longest + 1)},
        {"ids": []},
        {"ids": None},
        {"ids": "a text, and no tokenizer"},
        {"ids": [10**6]},
        {"ids": [-1]},
        {"ids": 7},
        {"ids": {"a": 1}},
        {"ids": [1.5]},
        {"text": "no column"},
        {"ids": [5], "lora": "unknown"},
        {"ids": [5], "max_new_tokens": "many"},
        {"ids": [5], "decoder_prompt": "no encoder"},
    ]
    path = tmp_path / "prompts.jsonl"
    lines = [
        json.dumps(good),
        *map(json.dumps, odd),
        '{"ids": [5',
        "\udcff\udcfe",
        json.dumps(good),
    ]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    report = beamgen.batch(
        package, path, tmp_path / "out", column="ids", processes=1, max_new_tokens=4
    )
    assert report.failed_rows == len(odd) + 2
    failures = read_jsonl(report.failed)
    assert [failure["row"] for failure in failures] == list(range(2, 2 + len(odd) + 2))
    assert all(failure["reason"] and failure["fix"] for failure in failures)
    assert not [f["reason"] for f in failures if "internal error" in f["reason"]]
    assert [row["row"] for row in read_jsonl(report.results)] == [1, len(lines)]


def test_a_padded_row_has_room_for_what_it_has_alone(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    """The longest prompt leaves room for 3 tokens, others for more: none is cut or refused."""
    generator = generators("gpt2")
    longest = generator.package.manifest.limits.max_positions
    rows = [{"id": i, "ids": [5 + i] * n} for i, n in enumerate((longest - 3, longest - 9, 4))]
    report = _run(generator.package, rows, tmp_path, eos_token_id=[], num_beams=2)
    results = read_jsonl(report.results)
    assert [len(row["hypotheses"][0]["token_ids"]) for row in results] == [3, 9, 64]
    check_same(results, one_by_one(generator, rows, "ids", eos_token_id=[], num_beams=2))


def test_loras_of_rows(slotted: Callable[..., Package], tmp_path: Path) -> None:
    slot_package = slotted("gpt2")
    generator = Generator(slot_package)
    names = [None, *generator.loras]
    assert len(names) > 1
    rows = token_rows(9, slot_package.manifest.vocab_size)
    rows = [{**row, "lora": names[i % len(names)]} for i, row in enumerate(rows)]
    report = _run(slot_package, rows, tmp_path, max_new_tokens=6)
    alone = one_by_one(generator, rows, "ids", max_new_tokens=6)
    check_same(read_jsonl(report.results), alone)


def test_an_operator_searches_one_row_at_a_time(
    contrib: Callable[..., Package], tmp_path: Path
) -> None:
    package = contrib("gpt2")
    rows = token_rows(6, package.manifest.vocab_size)
    report = _run(package, rows, tmp_path)
    check_same(read_jsonl(report.results), one_by_one(Generator(package), rows, "ids"))


def test_sources_of_an_encoder(generators: Callable[[str], Generator], tmp_path: Path) -> None:
    generator = generators("t5")
    rows = token_rows(12, generator.package.manifest.vocab_size)
    rows = [{**row, "decoder_prompt": [5, 9][: i % 3] or None} for i, row in enumerate(rows)]
    settings = {"max_new_tokens": 7, "num_beams": 3, "repetition_penalty": 1.2}
    report = _run(generator.package, rows, tmp_path, **settings)
    check_same(read_jsonl(report.results), one_by_one(generator, rows, "ids", **settings))


@pytest.mark.slow
def test_fewer_bits(quantized: Callable[..., Package], tmp_path: Path) -> None:
    package = quantized("gpt2", "int8")
    rows = token_rows(12, package.manifest.vocab_size)
    report = _run(package, rows, tmp_path, max_new_tokens=8)
    alone = one_by_one(Generator(package), rows, "ids", max_new_tokens=8)
    check_same(read_jsonl(report.results), alone)


def test_a_job_that_is_done_is_not_done_again(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    package = generators("gpt2").package
    rows = [*token_rows(5, 90), {"id": 9}]
    first = _run(package, rows, tmp_path, max_new_tokens=3)
    written = first.results.stat().st_mtime_ns
    again = _run(package, rows, tmp_path, max_new_tokens=3)
    assert again.results.stat().st_mtime_ns == written
    assert (again.answered_rows, again.failed_rows, again.resumed_rows) == (5, 1, 6)
    assert sorted(path.name for path in again.output.iterdir()) == [
        ".job.lock", "failed.jsonl", "job.json", "results.jsonl",
    ]  # fmt: skip
    first.results.unlink()
    mended = _run(package, rows, tmp_path, max_new_tokens=3)
    assert len(read_jsonl(mended.results)) == 5


@pytest.mark.parametrize("after", [1, 2, 5, 9])
def test_a_job_that_was_cut_off_goes_on(
    after: int,
    generators: Callable[[str], Generator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of the progress bar stands for anything: what was found is kept, in any window."""
    monkeypatch.setattr(reading, "WINDOW_ROWS", 8)
    monkeypatch.setattr(collect, "EVERY", 0.0)
    package = generators("gpt2").package
    rows = token_rows(30, package.manifest.vocab_size)
    rows[11] = {"id": 11, "ids": []}
    options = {"max_new_tokens": 5, "batch_size": 3, "do_sample": True}
    searched: list[int] = []
    answer = Generator.answer

    def watch(self: Generator, requests: Any) -> Any:
        searched.append(len(requests))
        return answer(self, requests)

    monkeypatch.setattr(Generator, "answer", watch)

    def stop(now: beamgen.BatchProgress) -> None:
        if len(searched) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(package, rows, tmp_path, progress=stop, **options)
    assert not (tmp_path / "out" / "results.jsonl").exists()
    report = _run(package, rows, tmp_path, **options)
    assert sum(searched) == 29, "no row was searched twice"
    assert report.resumed_rows >= sum(searched[:after])
    assert [row["id"] for row in read_jsonl(report.results)] == [*range(11), *range(12, 30)]
    # the draws are those of the first run, though nobody named a seed
    seed = json.loads((report.output / "job.json").read_text())["seed"]
    whole = _run(package, rows, tmp_path / "whole", seed=seed, **options)
    assert read_jsonl(whole.results) == read_jsonl(report.results)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"num_beams": 3}, "num_beams 3, then 4"),
        ({"length_penalty": 0.5}, "length_penalty 0.5, then not given"),
        ({"format": "jsonl", "chat": True}, "chat True, then False"),
        ({"catalogue": [[5, 9]]}, "catalogue '"),
    ],
)
def test_another_job_s_folder_is_refused(
    change: dict[str, Any],
    cause: str,
    generators: Callable[[str], Generator],
    tmp_path: Path,
) -> None:
    package = generators("gpt2").package
    rows = token_rows(3, 90)
    options: dict[str, Any] = {"max_new_tokens": 3, "num_beams": 4}
    first = _run(package, rows, tmp_path, **options)
    before = first.results.read_bytes()
    with pytest.raises(BatchError, match="belongs to another job") as error:
        _run(package, rows, tmp_path, **{**options, **change})
    assert cause in error.value.cause
    assert first.results.read_bytes() == before


def test_other_prompts_or_another_package_are_another_job(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    rows = token_rows(3, 90)
    _run(generators("gpt2").package, rows, tmp_path, max_new_tokens=3)
    with pytest.raises(BatchError, match="the prompts are not the same"):
        _run(generators("gpt2").package, rows[:2], tmp_path, max_new_tokens=3)
    with pytest.raises(BatchError, match="the package is not the same"):
        _run(generators("phi3").package, rows, tmp_path, max_new_tokens=3)


def test_a_folder_of_something_else_is_refused(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all of it")
    with pytest.raises(BatchError, match=r"holds thesis.txt, and is no folder of a batch"):
        _run(generators("gpt2").package, token_rows(3, 90), tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_two_jobs_do_not_share_a_folder(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    package = generators("gpt2").package
    rows = token_rows(3, 90)
    refused = []

    def meanwhile(now: beamgen.BatchProgress) -> None:
        if now.stage == "searching" and not refused:
            with pytest.raises(BatchError, match="another process is at work") as error:
                _run(package, rows, tmp_path, max_new_tokens=3)
            refused.append(error.value)

    report = _run(package, rows, tmp_path, max_new_tokens=3, progress=meanwhile)
    assert refused
    assert report.answered_rows == 3


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([], "has no rows"),
        ([{"prompt": "a"}, {"question": "b"}], "no column 'ids': it has prompt, question"),
        ([{"ids": [5], "row": 7}], "has a column 'row', which the results add"),
    ],
)
def test_an_input_that_cannot_be_searched_at_all(
    lines: list[dict[str, Any]],
    cause: str,
    generators: Callable[[str], Generator],
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=cause):
        _run(generators("gpt2").package, lines, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_package_that_moved_is_the_same_job(
    generators: Callable[[str], Generator], tmp_path: Path
) -> None:
    rows = token_rows(3, 90)
    package = generators("gpt2").package
    _run(package, rows, tmp_path, max_new_tokens=3)
    shutil.copytree(package.folder, tmp_path / "elsewhere")
    moved = beamgen.open_package(tmp_path / "elsewhere")
    assert _run(moved, rows, tmp_path, max_new_tokens=3).resumed_rows == 3
