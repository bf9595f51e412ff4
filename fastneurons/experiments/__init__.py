"""Jobs over one engine: each takes examples from a source and leaves a store."""
