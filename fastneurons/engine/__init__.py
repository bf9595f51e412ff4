"""vLLM: the patch, the workers that make it, and the session that feeds them."""
