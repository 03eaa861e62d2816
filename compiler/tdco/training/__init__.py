"""Training: pretraining in PyTorch, and many steps of a compiled program on the device's own arithmetic."""
