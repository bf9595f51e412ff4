"""`fastneurons bench`: ways of reading neurons' activations, compared on the same prompts."""
