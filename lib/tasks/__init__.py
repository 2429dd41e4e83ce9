"""Made-up data, drawn with a seed, with held-out splits by construction."""
