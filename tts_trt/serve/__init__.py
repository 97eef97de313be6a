"""HTTP in front of engines: an OpenAI-compatible speech API, a supervised worker, and the limits between them."""
