"""The public names, for editors and type checkers. Third parties' specs come from their own packages."""

from sslkit.api import Result as Result
from sslkit.api import Run as Run
from sslkit.api import load_backbone as load_backbone
from sslkit.api import resume_run as resume_run
from sslkit.errors import SslkitError as SslkitError
from sslkit.registry.hookspecs import hookimpl as hookimpl
from sslkit.spec.parts import CheckpointSpec as CheckpointSpec
from sslkit.spec.parts import CompileSpec as CompileSpec
from sslkit.spec.parts import LogSpec as LogSpec
from sslkit.spec.parts import NetSpec as NetSpec
from sslkit.spec.parts import Normalize as Normalize
from sslkit.spec.parts import OptimizerSpec as OptimizerSpec
from sslkit.spec.parts import Readout as Readout
from sslkit.spec.parts import ViewSpec as ViewSpec
from sslkit.spec.run import RunSpec as RunSpec
from sslkit.spec.schedule import LearningRateSchedule as LearningRateSchedule
from sslkit.spec.schedule import Ramp as Ramp
from sslkit.train.compose import compose as compose
from sslkit_backbones.plugin import ViT as ViT
from sslkit_balancers.plugin import FixedWeights as FixedWeights
from sslkit_data.plugin import CIFAR10 as CIFAR10
from sslkit_data.plugin import Digits as Digits
from sslkit_data.plugin import Folder as Folder
from sslkit_data.plugin import HorizontalFlip as HorizontalFlip
from sslkit_data.plugin import Parquet as Parquet
from sslkit_data.plugin import RandomAffine as RandomAffine
from sslkit_data.plugin import RandomResizedCrop as RandomResizedCrop
from sslkit_data.plugin import Resize as Resize
from sslkit_evaluators.plugin import KNN as KNN
from sslkit_evaluators.plugin import LinearProbe as LinearProbe
from sslkit_loggers.plugin import TensorBoard as TensorBoard
from sslkit_loggers.plugin import WandB as WandB
from sslkit_maskers.plugin import RandomMasker as RandomMasker
from sslkit_objectives.plugin import MAE as MAE
from sslkit_objectives.plugin import SimMIM as SimMIM
from sslkit_targets.plugin import HOG as HOG
from sslkit_targets.plugin import Frequency as Frequency
from sslkit_targets.plugin import NormalizedPixel as NormalizedPixel
from sslkit_targets.plugin import Pixel as Pixel

__version__: str
