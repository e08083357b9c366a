"""The compiled engine for the CPU."""

load_error = "not built yet"
