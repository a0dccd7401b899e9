"""Making a network smaller: the affine mapping, calibration, and the real quantizers.

Each module stands alone and imports only the framework it is about: ``affine`` and ``calibration`` need numpy,
``ptq`` ONNX Runtime, ``weights`` and ``backends`` PyTorch.

Pruning: ``prune`` sets weights to zero, ``prune_groups`` and ``prune_filters`` take filters out, ``prune_train`` trains
on, ``prune_packed`` counts bytes, ``prune_audit`` says what a tool did. `edgelab.toolbox.prune` does all of it for a
network of one's own.
"""
