"""How a prompt is divided, which what compares a file has to know too."""

#: The most tokens of a prompt that go through the decoder at once.
PROMPT_PIECE = 512
