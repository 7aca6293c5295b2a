"""The ``.onnx`` files of models: read and checked in numpy, without running them."""
