"""EleutherAI's lm-evaluation-harness over edited models: the optional extra `lm-eval`."""
