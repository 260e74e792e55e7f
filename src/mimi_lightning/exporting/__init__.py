"""A checkpoint in files that other programs read: ONNX, safetensors, and a program of `torch.export`."""
