"""Making a network smaller: the affine mapping, calibration, and the real quantizers.

Each module stands alone and imports only the framework it is about: ``affine`` and ``calibration`` need numpy,
``ptq`` ONNX Runtime, ``weights``, ``backends``, ``distill`` (losses) and ``distill_training`` PyTorch.
"""
