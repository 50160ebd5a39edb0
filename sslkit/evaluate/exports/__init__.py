"""Networks as files and folders that other programs load: timm, transformers, ONNX, torch.export."""
