"""Chat with a folder that `beamgen package genai` wrote, token by token.

pip install onnxruntime-genai
python chat.py phi3-genai
python chat.py phi3-genai --prompt "What is a doctor?"
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import onnxruntime_genai as og


def main() -> None:
    """Answer one prompt, or each line until the input ends."""
    parser = argparse.ArgumentParser(description="Chat with a folder for onnxruntime-genai.")
    parser.add_argument("model", help="the folder with genai_config.json")
    parser.add_argument("-p", "--prompt", help="answer this, and leave")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    arguments = parser.parse_args()

    model = og.Model(arguments.model)
    tokenizer = og.Tokenizer(model)
    messages: list[dict[str, str]] = []
    while True:
        try:
            prompt = arguments.prompt or input("> ")
        except EOFError:
            break
        messages.append({"role": "user", "content": prompt})
        answer = ""
        for text in stream(model, tokenizer, messages, arguments.max_new_tokens):
            print(text, end="", flush=True)
            answer += text
        print()
        messages.append({"role": "assistant", "content": answer})
        if arguments.prompt:
            break


def stream(
    model: og.Model, tokenizer: og.Tokenizer, messages: list[dict[str, str]], max_new_tokens: int
) -> Iterator[str]:
    """The reply, in pieces of text as they come."""
    chat = tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
    prompt = tokenizer.encode(chat)
    params = og.GeneratorParams(model)
    # genai counts the prompt in max_length; only one beam can be streamed
    params.set_search_options(max_length=len(prompt) + max_new_tokens, num_beams=1)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    pieces = tokenizer.create_stream()
    while not generator.is_done():
        generator.generate_next_token()
        token = generator.get_next_tokens()[0]
        if token not in tokenizer.eos_token_ids:
            yield pieces.decode(token)


if __name__ == "__main__":
    main()
