"""Where arrays come from, and which of them a step sees."""
