"""Images in, predictions out, with Pillow, numpy and onnxruntime alone."""
