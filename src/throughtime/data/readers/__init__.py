"""One file per format: each turns a source into records, or refuses it with the place where it is wrong."""
