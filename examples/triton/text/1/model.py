"""Text in, text out: tokenizes, asks the search model, decodes.

Every prompt becomes a request of its own. All of them are sent before the first answer is
waited for, so that Triton joins them into batches, with those of other requests.
"""

import asyncio
import json

import numpy as np
import triton_python_backend_utils as pb_utils
from transformers import AutoTokenizer

WHOLE = {
    "forced_bos_token_id",
    "max_new_tokens",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "seed",
    "top_k",
}
OUTPUTS = ["sequences", "sequences_scores"]


class TritonPythonModel:
    """What Triton's Python backend runs."""

    def initialize(self, args):
        """Read the parameters of config.pbtxt."""
        parameters = json.loads(args["model_config"])["parameters"]
        value = {name: entry["string_value"] for name, entry in parameters.items()}
        self.search_model = value["search_model"]
        self.defaults = json.loads(value["defaults"])
        self.longest = int(value.get("longest", "0"))
        self.tokenizer = AutoTokenizer.from_pretrained(value["tokenizer"])

    async def execute(self, requests):
        """Answer some requests."""
        return await asyncio.gather(*(self._answer(request) for request in requests))

    async def _answer(self, request):
        try:
            prompts = pb_utils.get_input_tensor_by_name(request, "prompts").as_numpy()
            given = pb_utils.get_input_tensor_by_name(request, "settings")
            settings = dict(self.defaults)
            if given is not None:
                settings |= json.loads(given.as_numpy().reshape(-1)[0])
            answers = await asyncio.gather(
                *(self._search(prompt.decode(), settings) for prompt in prompts.reshape(-1))
            )
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        texts = [[text for text, _ in answer] for answer in answers]
        scores = [[score for _, score in answer] for answer in answers]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("texts", np.array(texts, dtype=object)),
                pb_utils.Tensor("scores", np.array(scores, dtype=np.float32)),
            ]
        )

    async def _search(self, prompt, settings):
        """The texts of one prompt with their scores, best first."""
        ids = np.array([self.tokenizer(prompt)["input_ids"]], np.int64)
        # in the search model it would be an error of all requests that it is joined with
        if not ids.size:
            raise ValueError(f"{prompt[:60]!r} has no tokens: write something")
        if self.longest and ids.size > self.longest:
            raise ValueError(
                f"{prompt[:60]!r} has {ids.size} tokens and the model takes {self.longest}: "
                "shorten it"
            )
        inputs = [pb_utils.Tensor("input_ids", ids)]
        for name, value in settings.items():
            dtype = np.int64 if name in WHOLE else np.float32
            inputs.append(pb_utils.Tensor(name, np.array([[value]], dtype)))
        response = await pb_utils.InferenceRequest(
            model_name=self.search_model, requested_output_names=OUTPUTS, inputs=inputs
        ).async_exec()
        if response.has_error():
            raise RuntimeError(response.error().message())
        sequences, scores = (
            pb_utils.get_output_tensor_by_name(response, name).as_numpy()[0] for name in OUTPUTS
        )
        texts = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in sequences]
        return list(zip(texts, scores.tolist(), strict=True))
