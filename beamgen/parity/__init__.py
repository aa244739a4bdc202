"""Does a file agree with Hugging Face ``generate``, token for token and score for score?

Imports all that stands below; torch and transformers inside functions.

Each case ends in one of these verdicts. *Exact*: same tokens, same scores
(within 2e-4; of a rounded package within twice its noise). *Contrib rule*:
what ONNX Runtime's operator has to answer by its own rule, which is not HF's.
*Near-tie*: the two searches part at a step where HF's own scores of what one kept
and the other dropped lie within the margin of float arithmetic; both answers are
right. *Diverged*: they part anywhere else, or their scores do.
"""
