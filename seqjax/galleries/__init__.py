"""Figures of whole experiments: what a trained model makes, in the drawings of `seqjax.plots`."""
