"""What comes from files and data of strangers, shown and read so that it does no harm."""
