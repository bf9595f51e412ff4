"""Fine-tune models on parallel data, with Transformers and PEFT. Knows nothing of the engine."""

from fastneurons.training.align import align
from fastneurons.training.options import OBJECTIVES, TrainingOptions

__all__ = ["OBJECTIVES", "TrainingOptions", "align"]
