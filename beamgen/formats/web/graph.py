"""The graph for onnxruntime-web: what each step decided comes out, and nothing has a default."""

from __future__ import annotations

from beamgen.errors import PackageError, one_line
from beamgen.package import embedded
from beamgen.package.folder import Package
from beamgen.settings.automaton import PARTS
from beamgen.settings.sources import DECODER_PROMPT

#: What may be written, which a page takes from a file.
CONSTRAINT = tuple(f"constraint_{part}" for part in PARTS)

#: What a page may change. All else stays as the package has it, as constants.
FED = (
    "input_ids",
    "attention_mask",
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "num_return_sequences",
    "length_penalty",
    "early_stopping",
    "do_sample",
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    *CONSTRAINT,
)

#: What a page of an encoder-decoder may change besides; the other where there are languages.
_BEHIND_ENCODER, _LANGUAGE = DECODER_PROMPT.name, "forced_bos_token_id"

#: Outputs of the search itself that the page reads; those of each step come besides.
READ = ("sequences", "sequences_scores", "finish_reasons")


def fed(package: Package, *, languages: bool = False) -> tuple[str, ...]:
    """The inputs of a page's graph.

    Args:
        package: what the page is made of.
        languages: its tokenizer is told which language to translate into.
    """
    if package.manifest.encoder is None:
        return FED
    return (*FED, _BEHIND_ENCODER, *([_LANGUAGE] if languages else []))


def web_graph(package: Package, *, languages: bool = False) -> bytes:
    """The package's graph with a trace, what is ``fed`` as plain inputs, all else constant.

    onnxruntime-web sees no input that has a default. LoRA slots become constants of
    rank 0: the base model.

    Args:
        package: what the page is made of.
        languages: see ``fed``.

    Raises:
        PackageError: the graph cannot be read.
    """
    import onnx_ir as ir

    from beamgen.search.traced import with_trace_outputs

    try:
        # a page fetches one file
        model = ir.external_data.load_to_model(with_trace_outputs(ir.load(package.model)))
    except Exception as error:  # a damaged protobuf fails in many ways
        raise PackageError(
            f"{package.model} cannot be read: {one_line(error)}", "export the checkpoint again"
        ) from error
    graph, names = model.graph, fed(package, languages=languages)
    for value in list(graph.inputs):
        if value.name in names:
            graph.initializers.pop(value.name, None)
            value.const_value = None
        elif value.const_value is not None:
            graph.inputs.remove(value)
    unfed = [value.name or "" for value in graph.inputs if value.name not in names]
    if unfed:
        raise PackageError(
            f"{package.model} has inputs without a default that no page feeds: {', '.join(unfed)}",
            "export the checkpoint again, with --require at most for what a page sets",
        )
    for value in list(graph.outputs):
        if value.name not in READ and not (value.name or "").startswith("trace/"):
            graph.outputs.remove(value)
    model.metadata_props[embedded.FORMAT] = "a page for the browser"
    content: bytes = ir.to_proto(model).SerializeToString()
    return content
