"""Tuning: from a trained model to one that does what is asked."""
