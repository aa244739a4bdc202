"""Architectures of which no file can be made, with what stands in the way of each."""

from __future__ import annotations

from beamgen.registry import Refusal, refuse

_GENERATE = "search with transformers' own generate; `beamgen list` shows what can be exported"
_BY_HAND = "write its adapter as model_adapters/jamba.py is written: docs/adding-an-architecture.md"
_TEXT_ALONE = "export a checkpoint of its text model alone, if `beamgen list` has that"

for _refusal in (
    Refusal(
        "encoder-decoders of speech and images",
        "an encoder-decoder whose source is sound or an image; of those Whisper alone is here",
        _GENERATE,
        (
            "dia",
            "florence2",
            "moonshine",
            "pix2struct",
            "pop2piano",
            "seamless_m4t",
            "seamless_m4t_v2",
            "speech-encoder-decoder",
            "speecht5",
            "udop",
            "vision-encoder-decoder",
        ),
    ),
    Refusal(
        "Speech2Text",
        "its source is a spectrogram of any length with a mask; a file hears spectrograms of one "
        "length",
        _GENERATE,
        ("speech_to_text",),
    ),
    Refusal(
        "models of images and text",
        "it reads images besides text, for which a file has no input",
        _TEXT_ALONE,
        (
            "aria",
            "aya_vision",
            "blip",
            "blip-2",
            "chameleon",
            "cohere2_vision",
            "deepseek_vl",
            "deepseek_vl_hybrid",
            "emu3",
            "fuyu",
            "gemma3",
            "gemma3n",
            "git",
            "glm4v",
            "glm4v_moe",
            "got_ocr2",
            "idefics",
            "idefics2",
            "idefics3",
            "instructblip",
            "internvl",
            "janus",
            "kosmos-2",
            "kosmos-2.5",
            "lfm2_vl",
            "llama4",
            "llava",
            "llava_next",
            "llava_next_video",
            "llava_onevision",
            "mistral3",
            "mllama",
            "ovis2",
            "paligemma",
            "perception_lm",
            "phi4_multimodal",
            "qwen2_5_vl",
            "qwen2_vl",
            "qwen3_vl",
            "qwen3_vl_moe",
            "shieldgemma2",
            "smolvlm",
            "vipllava",
        ),
    ),
    Refusal(
        "models of sound and text",
        "it reads or writes sound besides text, for which a file has no place",
        _TEXT_ALONE,
        (
            "granite_speech",
            "kyutai_speech_to_text",
            "moshi",
            "musicgen",
            "musicgen_melody",
            "qwen2_audio",
            "voxtral",
        ),
    ),
    Refusal(
        "states that beam search leaves behind",
        "each beam carries states, and the beam search of transformers 4.57 does not give it "
        "its parent's: with the cache it finds other sequences than without, so that a file has "
        "nothing to agree with",
        _GENERATE,
        ("falcon_mamba", "mamba", "mamba2", "minimax", "recurrent_gemma", "rwkv"),
    ),
    Refusal(
        "states that beam search fails on",
        "each beam carries states, and the beam search of transformers 4.57 fails on them, so "
        "that a file has nothing to agree with",
        _GENERATE,
        ("lfm2", "lfm2_moe", "xlstm"),
    ),
    Refusal(
        "states without an adapter",
        "each beam carries states; a file has a place for them, and no adapter computes these",
        _BY_HAND,
        (
            "bamba",
            "falcon_h1",
            "granitemoehybrid",
            "nemotron_h",
            "qwen3_5",
            "qwen3_5_text",
            "qwen3_next",
            "zamba",
            "zamba2",
        ),
    ),
    Refusal(
        "XLNet",
        "each step appends a dummy token that attends through a permutation in a second stream, "
        "and computes all tokens anew; keys and values of one step are not those of the next",
        _GENERATE,
        ("xlnet",),
    ),
    Refusal(
        "Transformer-XL",
        "it keeps hidden states of segments (mems) in place of keys and values, and an adaptive "
        "softmax in place of logits",
        _GENERATE,
        ("transfo-xl",),
    ),
    Refusal(
        "Reformer",
        "its tokens attend within buckets of random hashes, which are drawn anew in each run",
        _GENERATE,
        ("reformer",),
    ),
    Refusal(
        "BigBird",
        "its tokens attend to random blocks of others, which Python draws for each length",
        _GENERATE,
        ("big_bird",),
    ),
    Refusal(
        "ProphetNet",
        "each step runs a second stream beside the main one, from which it predicts, and both add "
        "biases that their hidden states weigh; no adapter computes these",
        "write its adapter: docs/adding-an-architecture.md",
        ("prophetnet", "xlm-prophetnet"),
    ),
    Refusal(
        "FSMT",
        "with its cache, generate of transformers 4.57 and 5.24 gives every token the position of "
        "the first: it finds other sequences than without, so that a file has nothing to agree "
        "with",
        "export a translator of another class, such as Marian's or M2M100's",
        ("fsmt",),
    ),
    Refusal(
        "RAG",
        "it fetches documents while it generates, and sums over them; a file has no index",
        "export its generator alone, BART or T5, and put what was found into the source",
        ("rag",),
    ),
    Refusal(
        "encoders",
        "an encoder reads in both directions and continues nothing",
        "export a decoder: `beamgen list` shows those that can be",
        (
            "albert",
            "convbert",
            "deberta",
            "deberta-v2",
            "distilbert",
            "esm",
            "fnet",
            "funnel",
            "ibert",
            "layoutlm",
            "longformer",
            "luke",
            "mobilebert",
            "modernbert",
            "mpnet",
            "mra",
            "nystromformer",
            "squeezebert",
            "tapas",
            "yoso",
        ),
    ),
    Refusal(
        "diffusion models of text",
        "it fills masked places in any order, so that there are no beams of beginnings",
        "sample as its own code does; `beamgen list` shows what can be exported",
        ("Dream", "llada", "llada_moe"),
    ),
):
    refuse(_refusal)
