"""The search parameters that a file takes as inputs with defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """One search parameter of the graph.

    Attributes:
        name: the graph input's name, which is HF's where HF has one.
        dtype: ``int64``, ``int32`` or ``float32``.
        axes: what its axes count: a number; ``batch``, where a length-1 value holds
            for all rows; anything else is a length of the caller's choice.
        meaning: one line for tables and viewers.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    meaning: str

    @property
    def per_row(self) -> bool:
        """Whether each row of a batch may have its own."""
        return self.axes == ("batch",)


_ONE, _BATCH, _LIST, _SEQUENCES = ("1",), ("batch",), ("n",), ("n", "longest")
_INT, _FLOAT = "int64", "float32"

PARAMETERS = (
    Parameter("max_new_tokens", _INT, _BATCH, "tokens generated at most (at least 1)"),
    Parameter("min_new_tokens", _INT, _BATCH, "tokens generated before an EOS may come"),
    Parameter("num_beams", _INT, _ONE, "beams per row; 1 is greedy search, or sampling"),
    Parameter(
        "num_return_sequences",
        _INT,
        _ONE,
        "hypotheses returned, at most num_beams; with one beam and do_sample any number",
    ),
    Parameter("length_penalty", _FLOAT, _BATCH, "scores are divided by length ** length_penalty"),
    Parameter("early_stopping", _INT, _ONE, '0 False, 1 True, 2 "never"'),
    Parameter("eos_token_id", _INT, _LIST, "ids that end a sequence"),
    Parameter("pad_token_id", _INT, _ONE, "fills finished rows (0 counts as unset, as in HF)"),
    Parameter("do_sample", _INT, _ONE, "1 draws tokens, 0 takes the best"),
    Parameter("seed", _INT, _BATCH, "of the draws; one seed s stands for s, s + 1, ... by row"),
    Parameter("temperature", _FLOAT, _BATCH, "divides scores; sampling only"),
    Parameter("top_k", _INT, _BATCH, "draw among that many best tokens, 0: all; sampling only"),
    Parameter("top_p", _FLOAT, _BATCH, "draw among the best of that total; sampling only"),
    Parameter("min_p", _FLOAT, _BATCH, "least probability over the largest; sampling only"),
    Parameter("typical_p", _FLOAT, _BATCH, "total of the most typical; sampling only"),
    Parameter("epsilon_cutoff", _FLOAT, _BATCH, "least probability, 0: none; sampling only"),
    Parameter("eta_cutoff", _FLOAT, _BATCH, "eta sampling's threshold, 0: off; sampling only"),
    Parameter("repetition_penalty", _FLOAT, _BATCH, "above 1 makes ids seen before unlikely"),
    Parameter("no_repeat_ngram_size", _INT, _BATCH, "no n-gram comes twice, 0: off"),
    Parameter(
        "sequence_bias_ids", _INT, _SEQUENCES, "biased sequences, right-aligned, filled with -1"
    ),
    Parameter("sequence_bias", _FLOAT, _LIST, "added where a token completes each of them"),
    Parameter("bad_words_ids", _INT, _SEQUENCES, "banned, right-aligned, filled with -1"),
    Parameter("forced_bos_token_id", _INT, _LIST, "the first token after a prompt of one, or none"),
    Parameter("forced_eos_token_id", _INT, _LIST, "what the last token at max_new_tokens must be"),
    Parameter("remove_invalid_values", _INT, _ONE, "1 replaces what is not a finite number"),
    Parameter(
        "exponential_decay_length_penalty",
        _FLOAT,
        _LIST,
        "start and factor of rising EOS scores, or none",
    ),
    Parameter("suppress_tokens", _INT, _LIST, "ids that never come"),
    Parameter("begin_suppress_tokens", _INT, _LIST, "ids that do not come first"),
    Parameter("renormalize_logits", _INT, _ONE, "1 makes processed probabilities sum to 1"),
    Parameter("output_scores", _INT, _ONE, "1 fills beam_indices and token_log_probs"),
    Parameter("catalogue_offsets", _INT, _LIST, "first edge of each node of the catalogue's trie"),
    Parameter("catalogue_tokens", _INT, _LIST, "token of each edge, -1: an entry ends; or none"),
    Parameter("catalogue_next", _INT, _LIST, "node that each edge leads to"),
)

#: Names of the settings of which each row of a batch may have its own.
PER_ROW = frozenset(parameter.name for parameter in PARAMETERS if parameter.per_row)
