"""The embedded default: a drawn dataset and a small random base model, made on the spot."""
