"""Trained models elsewhere: as ONNX files, and as plain torch.nn modules.

to_onnx(model, path)      an ONNX file, once onnxruntime has been seen to agree with the model
translation_table()       what torch.onnx.export needs for modules of one's own that have layers of `throughtime.nn`
to_torch(model)           torch.nn.Embedding, torch.nn.RNN and torch.nn.Linear with identical outputs
"""

from throughtime.export.onnx_files import ExportError, to_onnx, translation_table
from throughtime.export.torch_modules import TorchNetwork, to_torch

__all__ = ["ExportError", "TorchNetwork", "to_onnx", "to_torch", "translation_table"]
