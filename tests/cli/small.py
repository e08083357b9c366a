"""A training that is over soon: few modules of the built-in source, few states, one epoch."""

SMALL = {"train": ["abc.py", "bisect.py"], "valid": ["secrets.py"], "test": ["netrc.py"]}
QUICK = ("--epochs", 1, "--states", 5, "--engine", "reference")
