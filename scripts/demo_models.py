"""The demo checkpoints' models, untrained."""

from __future__ import annotations

from transformers import (
    BioGptConfig,
    BioGptForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianMTModel,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)


def build_gpt2(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a GPT-2 without pad token."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=128,
        n_embd=96,
        n_layer=4,
        n_head=4,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        **ids,
    )
    model = GPT2LMHeadModel(config)
    model.generation_config = GenerationConfig(**ids)
    return model


def build_biogpt(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a BioGPT, with dropout because it sees its few texts many times."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = BioGptConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
        **ids,
    )
    model = BioGptForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    return model


def build_phi3(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a Phi-3 with grouped-query attention that stops at either of two tokens."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    end_of_turn = tokenizer.convert_tokens_to_ids("<|end|>")
    config = Phi3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        original_max_position_embeddings=256,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        eos_token_id=tokenizer.eos_token_id,
        **ids,
    )
    model = Phi3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, end_of_turn], **ids
    )
    return model


def build_marian(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a Marian with the settings that Opus-MT's have."""
    ids = {
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
        "forced_eos_token_id": tokenizer.eos_token_id,
    }
    config = MarianConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer),
        max_position_embeddings=128,
        d_model=128,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        activation_function="swish",
        scale_embedding=True,
        dropout=0.0,
        **ids,
    )
    model = MarianMTModel(config)
    never = [[tokenizer.pad_token_id]]
    model.generation_config = GenerationConfig(
        num_beams=4, max_length=128, bad_words_ids=never, **ids
    )
    return model


def build_t5(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Builds a T5 of the first kind, whose head is its embedding."""
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        **ids,
    )
    model = T5ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(**ids)
    return model
