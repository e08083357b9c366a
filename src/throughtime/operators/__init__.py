"""The operators that PyTorch knows: the recurrence, programs, the learning step; and the choice of engine."""
