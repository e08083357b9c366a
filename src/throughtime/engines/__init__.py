"""Who runs the recurrence: one module per engine, all with the same `forward` and `backward` (see `reference`)."""
