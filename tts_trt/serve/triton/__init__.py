"""NVIDIA Triton: a model repository of a bundle, and the model in it that speaks."""
