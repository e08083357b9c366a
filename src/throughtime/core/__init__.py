"""What everything rests on: the notation and its checks, the order of memory, losses, and the contraction to gradients."""
