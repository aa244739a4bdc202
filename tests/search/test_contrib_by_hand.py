"""``com.microsoft::BeamSearch`` alone, on cases small enough to follow by hand.

The decoder is a table: the logits after a token are a row of it. What happens here is
told in docs/contrib-op.md; should ONNX Runtime change it, these tests say so.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper, parser
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from beamgen import SearchConfig
from beamgen.parity.contrib.rule import Beams, beam_search

EOS, VOCAB = 3, 8
ONE, TWO, NOISE = 1, 2, 4

# From 0: 1 with 0.6, EOS with 0.3. From 1: 2 with 0.6, EOS with 0.3. From 2: EOS with 0.9.
# The best answer to 0 is 1 2 EOS: 0.6 * 0.6 * 0.9 = 0.324, before EOS at once, 0.3.
# From 4, 5, 6 and 7 each of them with 0.25, and never an EOS.
_PROBABILITIES = {
    0: {1: 0.6, EOS: 0.3, 2: 0.1},
    1: {2: 0.6, EOS: 0.3, 1: 0.1},
    2: {EOS: 0.9, 2: 0.1},
    EOS: {EOS: 1.0},
    **{noise: dict.fromkeys((4, 5, 6, 7), 0.25) for noise in (4, 5, 6, 7)},
}


def _table() -> np.ndarray:
    table = np.full((VOCAB, VOCAB), -50.0, np.float32)
    for token, following in _PROBABILITIES.items():
        for other, probability in following.items():
            table[token, other] = np.log(probability)
    return table


def _op(table: np.ndarray, reads: str = "input_ids", pad: int = 0, **attributes: int):
    """A session over one BeamSearch node whose decoder looks up ``reads`` in the table."""
    decoder = parser.parse_graph(f"""
        decoder (int32[rows, new] input_ids, int32[rows, new] position_ids,
                 int32[rows, total] attention_mask, float[2, rows, 1, past, 1] past_0)
            => (float[rows, new, {len(table[0])}] logits, float[2, rows, 1, total, 1] present_0) {{
            logits = Gather(table, {reads})
            axes = Constant<value_ints = [0, 2, 4]>()
            entry = Cast<to = 1>(input_ids)
            one = Unsqueeze(entry, axes)
            entries = Concat<axis = 0>(one, one)
            present_0 = Concat<axis = 3>(past_0, entries)
        }}""")
    scalars = ["max_length", "min_length", "num_beams", "num_return_sequences"]
    floats = ["length_penalty", "repetition_penalty"]
    node = helper.make_node(
        "BeamSearch",
        ["input_ids", *scalars, *floats, "", "", "attention_mask"],
        ["sequences", "sequences_scores"],
        domain="com.microsoft",
        decoder=decoder,
        **{"eos_token_id": EOS, "pad_token_id": pad, "model_type": 0, **attributes},
    )
    ints = [helper.make_tensor_value_info(name, 6, [1]) for name in scalars]
    graph = helper.make_graph(
        [node],
        "by_hand",
        [
            helper.make_tensor_value_info("input_ids", 6, ["batch", "prompt_len"]),
            helper.make_tensor_value_info("attention_mask", 6, ["batch", "prompt_len"]),
            *ints,
            *(helper.make_tensor_value_info(name, 1, [1]) for name in floats),
        ],
        [
            helper.make_tensor_value_info("sequences", 6, None),
            helper.make_tensor_value_info("sequences_scores", 1, None),
        ],
        [numpy_helper.from_array(table, "table")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def run(prompts: list[list[int]], *, beams: int = 2, new: int = 4, penalty: float = 0.0):
        ids = np.array(prompts, np.int32)
        values = [ids.shape[1] + new, 0, beams, beams]
        feeds = {name: np.array([v], np.int32) for name, v in zip(scalars, values, strict=True)}
        feeds |= {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        feeds |= {"length_penalty": np.array([penalty], np.float32)}
        feeds |= {"repetition_penalty": np.ones(1, np.float32)}
        sequences, scores = session.run(None, feeds)
        return SimpleNamespace(text=sequences[:, :, ids.shape[1] :].tolist(), scores=scores)

    return run


def _rule(prompts: list[list[int]], *, beams: int = 2, new: int = 4, **settings):
    """The same search by our model of the op."""
    table = torch.from_numpy(_table()).log_softmax(-1).numpy()
    config = SearchConfig(
        (EOS,), 0, num_beams=beams, num_return_sequences=beams, max_new_tokens=new, **settings
    )

    def scores(running: Beams) -> np.ndarray:
        return table[running.sequences[:, -1]] + running.scores[:, None]

    answer = beam_search(scores, np.array(prompts), config, VOCAB)
    return answer.sequences[:, :, len(prompts[0]) :].tolist(), answer.scores


class _TableModel(PreTrainedModel, GenerationMixin):
    """The same table for HF ``generate``."""

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__(PretrainedConfig(vocab_size=VOCAB, is_decoder=True))
        self.table = torch.nn.Parameter(torch.from_numpy(_table()))

    def forward(self, input_ids, attention_mask=None, **_):
        return CausalLMOutput(logits=self.table[input_ids])


def _hf(prompts: list[list[int]], *, beams: int = 2, new: int = 4, **settings):
    ids = torch.tensor(prompts)
    output = _TableModel().generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=new,
        eos_token_id=EOS,
        pad_token_id=EOS,
        use_cache=False,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )
    shape = (len(prompts), beams)
    text = output.sequences[:, ids.shape[1] :].reshape(*shape, -1).tolist()
    return text, output.sequences_scores.reshape(shape).numpy()


def _spoken(row: list[int]) -> list[int]:
    """Without EOS and what fills."""
    return row[: row.index(EOS)] if EOS in row else row


def test_alone_the_op_finds_what_hf_finds() -> None:
    found = _op(_table(), pad=EOS)([[0]])
    assert [_spoken(row) for row in found.text[0]] == [[ONE, TWO], []]
    np.testing.assert_allclose(found.scores[0], np.log([0.324, 0.3]), rtol=1e-5)
    text, scores = _hf([[0]], length_penalty=0.0)
    assert [_spoken(row) for row in text[0]] == [[ONE, TWO], []]
    np.testing.assert_allclose(scores[0], found.scores[0], rtol=1e-5)


def test_a_third_row_stops_by_the_scores_of_the_second() -> None:
    """After two tokens row 2 has EOS (0.3) and 1 EOS (0.18), and 1 2 (0.36) still running.

    Its own best candidate, 0.36, says that it can improve. The op reads row 1's: 0.25 *
    0.25 = 0.0625, which is worse than 0.18, and stops.
    """
    op = _op(_table(), pad=EOS)
    found = op([[NOISE], [NOISE], [0]])
    assert [_spoken(row) for row in found.text[2]] == [[], [ONE]]
    np.testing.assert_allclose(found.scores[2], np.log([0.3, 0.18]), rtol=1e-5)
    # beside other rows it gets what it gets alone, as it does from HF in any company
    others = op([[NOISE], [0], [0]])
    assert [_spoken(row) for row in others.text[2]] == [[ONE, TWO], []]
    text, _ = _hf([[NOISE], [NOISE], [0]], length_penalty=0.0)
    assert [_spoken(row) for row in text[2]] == [[ONE, TWO], []]


@pytest.mark.parametrize("prompts", [[[NOISE], [NOISE], [0]], [[0], [NOISE], [0], [0], [NOISE]]])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("stop", [False, True])
def test_our_model_of_the_op_agrees(prompts: list, penalty: float, stop: bool) -> None:
    found = _op(_table(), pad=EOS, early_stopping=int(stop))(prompts, penalty=penalty)
    text, scores = _rule(prompts, length_penalty=penalty, early_stopping=stop)
    assert found.text == text
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)


def test_with_early_stopping_an_eos_in_the_last_step_shuts_out_the_running_beams() -> None:
    """Of two tokens at most: EOS (0.3) is held when 1 EOS (0.18) and 1 2 (0.36) come.

    The op adds the EOS, has two hypotheses, is done, and never adds 1 2. HF compares all
    that end with the last step.
    """
    found = _op(_table(), pad=EOS, early_stopping=1)([[0]], new=2)
    assert [_spoken(row) for row in found.text[0]] == [[], [ONE]]
    text, scores = _hf([[0]], new=2, early_stopping=True, length_penalty=0.0)
    assert [_spoken(row) for row in text[0]] == [[ONE, TWO], []]
    np.testing.assert_allclose(scores[0], np.log([0.36, 0.3]), rtol=1e-5)


def test_the_length_is_that_of_prompt_and_text_without_the_eos() -> None:
    found = _op(_table(), pad=EOS)([[0, 0, 0]], penalty=1.0)
    by_text = dict(
        zip((tuple(_spoken(row)) for row in found.text[0]), found.scores[0], strict=True)
    )
    assert by_text[ONE, TWO] == pytest.approx(np.log(0.324) / 5, rel=1e-5)
    text, scores = _hf([[0, 0, 0]], length_penalty=1.0)
    theirs = dict(zip((tuple(_spoken(row)) for row in text[0]), scores[0], strict=True))
    assert theirs[ONE, TWO] == pytest.approx(np.log(0.324) / 3, rel=1e-5)


def test_positions_count_the_ids_that_are_not_the_pad_id_whatever_the_mask_says() -> None:
    """A decoder that answers with the position it is given: 7 means position 0, and so on."""
    answers = np.full((VOCAB, VOCAB), -50.0, np.float32)
    answers[np.arange(VOCAB), VOCAB - 1 - np.arange(VOCAB)] = 0.0
    prompt = [[5, 6, 5]]  # its mask is 1 everywhere
    first = {
        pad: _op(answers, reads="position_ids", pad=pad)(prompt).text[0][0][0] for pad in (0, 6)
    }
    assert first == {0: VOCAB - 1 - 2, 6: VOCAB - 1 - 1}
