"""The search graph: one beam-search step, the tree cache, and the loop around them."""
