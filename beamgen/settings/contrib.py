"""ONNX Runtime's ``BeamSearch``, ``GreedySearch`` and ``Sampling``, and what they honour.

A contrib package holds one of them: several beams are ``BeamSearch``, one beam is
``GreedySearch``, or ``Sampling`` where tokens are drawn.

Source: ``onnxruntime/contrib_ops/cpu/transformers`` and the schemas of
``com.microsoft`` (``onnxruntime/core/graph/contrib_ops``).
"""

from __future__ import annotations

from collections.abc import Iterator

from beamgen.errors import SettingError
from beamgen.settings.config import SearchConfig
from beamgen.settings.parameter import Parameter
from beamgen.settings.table import SETTINGS

DOMAIN = "com.microsoft"
BEAM_SEARCH, GREEDY_SEARCH, SAMPLING = "BeamSearch", "GreedySearch", "Sampling"

#: ``kMaxSequenceLength`` and ``kMaxNumBeams`` of beam_search_parameters.cc.
MAX_LENGTH, MAX_BEAMS = 4096, 128

#: Bits of ``Sampling``'s seed.
SEED_BITS = 31

#: The node of a contrib file that fails where a step's scores are no numbers: the operators go
#: on with them, and ``Sampling`` draws.
NO_NUMBERS = "scores_that_are_no_numbers"

#: Settings that are attributes of the node: they are fixed when it is exported.
FIXED = {
    BEAM_SEARCH: ("eos_token_id", "early_stopping", "no_repeat_ngram_size"),
    GREEDY_SEARCH: ("eos_token_id", "no_repeat_ngram_size"),
    SAMPLING: ("eos_token_id", "no_repeat_ngram_size", "temperature", "top_p"),
}

_MODES = {
    BEAM_SEARCH: "num_beams above 1",
    GREEDY_SEARCH: "num_beams 1 without do_sample",
    SAMPLING: "num_beams 1 with do_sample",
}
_BY_ALL = frozenset(
    {
        "max_new_tokens",
        "max_length",
        "min_new_tokens",
        "min_length",
        "num_beams",
        "num_return_sequences",
        "eos_token_id",
        "pad_token_id",
        "do_sample",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "bad_words_ids",
        "suppress_tokens",
        "begin_suppress_tokens",
    }
)
#: The settings that each operator honours; every other one is refused where it is on.
HONOURED = {
    BEAM_SEARCH: _BY_ALL | {"length_penalty", "early_stopping"},
    GREEDY_SEARCH: _BY_ALL,
    SAMPLING: _BY_ALL | {"seed", "temperature", "top_k", "top_p"},
}
_LEAST_TOP_P, _LEAST_TEMPERATURE = 1e-6, 1e-30


def operator_of(config: SearchConfig) -> str:
    """The operator that searches as these settings say."""
    if config.num_beams > 1:
        return BEAM_SEARCH
    return SAMPLING if config.do_sample else GREEDY_SEARCH


def parameters(operator: str, vocab_size: int) -> tuple[Parameter, ...]:
    """The operator's inputs besides the prompts, in its order."""
    one, mask = ("1",), str(vocab_size)
    beams = (
        Parameter("num_beams", "int32", one, "beams per row, at least 2"),
        Parameter("num_return_sequences", "int32", one, "hypotheses returned, at most num_beams"),
        Parameter(
            "length_penalty",
            "float32",
            one,
            "scores are divided by (prompt + generated length) ** length_penalty",
        ),
    )
    return (
        Parameter("max_length", "int32", one, "prompt with its padding + generated tokens at most"),
        Parameter("min_length", "int32", one, "no EOS before prompt + generated tokens reach it"),
        *(beams if operator == BEAM_SEARCH else ()),
        Parameter("repetition_penalty", "float32", one, "above 1 makes ids seen before unlikely"),
        Parameter("vocab_mask", "int32", (mask,), "0 bans an id"),
        Parameter("prefix_vocab_mask", "int32", ("rows", mask), "0 bans an id as first token"),
        *(() if operator != SAMPLING else (Parameter("seed", "int32", one, "of all rows' draws"),)),
    )


def check_honoured(config: SearchConfig) -> None:
    """Refuse what the operator cannot do.

    Raises:
        SettingError: one error that lists everything, and names the loop backend.
    """
    problems = list(_unhonoured(config))
    if problems:
        causes, cures = zip(*problems, strict=True)
        raise SettingError(
            f"ONNX Runtime's {operator_of(config)} cannot honour {'; '.join(causes)}",
            f"{'; '.join(dict.fromkeys(cures))}; or export with --search loop",
        )


def _unhonoured(config: SearchConfig) -> Iterator[tuple[str, str]]:
    """Each setting that the operator cannot do, and what to do about it."""
    # several beams cannot sample; then nothing that sampling alone heeds counts
    values = {**vars(config), "do_sample": config.do_sample and config.num_beams == 1}
    for setting in SETTINGS:
        honoured = setting.name in HONOURED[operator_of(config)]
        if not honoured and setting.is_heeded(values) and not setting.is_off(values[setting.name]):
            name = setting.name
            yield f"{name}: there is no input for it", f"--set {name}=default turns it off"
    eos = config.eos_token_id
    if len(eos) > 1:
        cause = f"{len(eos)} ids as eos_token_id ({', '.join(map(str, eos))}): it knows one"
        yield cause, f"pick one: --eos-token-id {eos[0]}"
    if any(len(ids) > 1 for ids in config.bad_words_ids):
        cause = "bad_words_ids of several tokens: it masks single ones"
        yield cause, "give bad_words_ids of one token each"
    if max(config.max_length or 0, 1 + (config.max_new_tokens or 0)) > MAX_LENGTH:
        yield f"sequences of more than {MAX_LENGTH} tokens", "lower max_new_tokens or max_length"
    if config.num_beams > 1:
        yield from _unhonoured_by_beams(config)
    elif config.do_sample:
        yield from _unhonoured_by_sampling(config)


def _unhonoured_by_beams(config: SearchConfig) -> Iterator[tuple[str, str]]:
    if config.do_sample:
        yield "do_sample with several beams", "set --no-sample, or --num-beams 1"
    if config.early_stopping == "never":
        yield 'early_stopping "never"', "set --early-stopping false or true"
    if config.num_beams > MAX_BEAMS:
        yield f"{config.num_beams} beams", f"set --num-beams {MAX_BEAMS} or less"


def _unhonoured_by_sampling(config: SearchConfig) -> Iterator[tuple[str, str]]:
    if config.top_k:
        cause = f"top_k {config.top_k} (50 is HF's default)"
        yield cause, "--top-k 0 draws among all tokens"
    if config.num_return_sequences > 1:
        cause = "num_return_sequences: it draws one sequence per row"
        yield cause, "repeat the prompt instead"
    if config.seed is not None and config.seed >= 2**SEED_BITS:
        yield f"seed {config.seed}", f"give a seed below {2**SEED_BITS}"
    if config.top_p < _LEAST_TOP_P:  # 1 - top_p is 1 in float32: it would keep all tokens
        yield f"top_p {config.top_p:g}", f"set top_p to {_LEAST_TOP_P:g} or more, or --no-sample"
    if config.temperature < _LEAST_TEMPERATURE:
        cure = f"set temperature to {_LEAST_TEMPERATURE:g} or more, or --no-sample"
        yield f"temperature {config.temperature:g}", cure


def check_fits(config: SearchConfig, exported: SearchConfig) -> None:
    """Hold a request to what was fixed when the package was exported.

    Raises:
        SettingError: it asks for another operator, or another attribute.
    """
    check_operator(config, operator_of(exported))
    for name in FIXED[operator_of(exported)]:
        if getattr(config, name) != getattr(exported, name):
            raise SettingError(
                f"{name} is an attribute of {operator_of(exported)}, fixed at "
                f"{getattr(exported, name)!r} in this package; {getattr(config, name)!r} was asked",
                "export once more with this setting, or with --search loop, where it is an input",
            )


def check_operator(config: SearchConfig, operator: str) -> None:
    """Refuse settings that this operator is not for.

    Raises:
        SettingError: another operator is, or none.
    """
    check_honoured(config)
    wanted = operator_of(config)
    if wanted != operator:
        raise SettingError(
            f"this package holds {operator}, which is for {_MODES[operator]}; "
            f"{_MODES[wanted]} takes {wanted}",
            "export once more with these settings, or with --search loop, which does all of them",
        )
