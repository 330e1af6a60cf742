"""A plain model as a file that runs without renorm: a torch.export program or ONNX, checked against the model."""

from renorm.export.checked import TOLERANCE, Exported, check_name, write
from renorm.export.normalized import Normalized

__all__ = ["TOLERANCE", "Exported", "Normalized", "check_name", "write"]
