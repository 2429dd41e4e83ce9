"""From a file to batches of tokens."""
