"""A tokenizer as part of a graph: text to ids before the search, ids to text behind it."""
