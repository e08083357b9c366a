"""Whole networks, from inputs to losses, and what they share: states, weights, readers of states, encoders of words."""
