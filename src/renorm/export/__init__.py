"""A plain model as a file that runs without renorm: a torch.export program or ONNX, checked against the model."""

from renorm.export.checked import TOLERANCE, Exported, check_name, write
from renorm.export.formats import PICTURES
from renorm.export.normalized import Normalized
from renorm.export.style import write_stylizer

__all__ = ["PICTURES", "TOLERANCE", "Exported", "Normalized", "check_name", "write", "write_stylizer"]
