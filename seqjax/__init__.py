"""Functional JAX/Flax research code for unsupervised and sequence learning."""
