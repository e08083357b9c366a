"""Trained models elsewhere: as ONNX files.

to_onnx(model, path)      an ONNX file, once onnxruntime has been seen to agree with the model
translation_table()       what torch.onnx.export needs for modules of one's own that have layers of `throughtime.nn`

A model's own `to_torch()` gives it as torch.nn.Embedding, torch.nn.RNN, LSTM or GRU, and torch.nn.Linear.
"""

from throughtime.export.onnx_files import ExportError, to_onnx
from throughtime.export.onnx_operators import translation_table

__all__ = ["ExportError", "to_onnx", "translation_table"]
