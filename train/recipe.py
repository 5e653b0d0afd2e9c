"""What a recipe holds: its tables, each with what its numbers mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec

from edgebrain.types import InputSpec

from .meta_config import MetaConfig
from .shapes import Amount, CnnConfig, Count, EdgeConfig, LiteConfig, Natural, Positive, Section, Share, TransferConfig

LARGEST_SIDE = 4096
"""Pixels; a wrong digit must not fill the memory."""


class DataConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Which samples are used.

    Attributes:
        labels: Output labels in order.
        canvas: Side in pixels at which scans wait for augmentation; above the input's, so that zooming keeps detail.
        drop_copies: Train on, and choose the best epoch with, one member of each copy group only.
        drop_conflicts: Leave out scans whose copies carry another label, from train and val.
        balance: Exponent b of the sampling weight n_class ** -b: 0 takes the data as it is, 1 makes classes equal.
        outliers: Share of pictures that are no brain MRI in what is drawn (label ``not_brain_mri``, and drawn ones);
            above 0 the network gets an ``outlier`` output.
        some_tumor: Share of scans in what is drawn that are only known to show some tumour (label ``tumor``).
        drawn: Share of the outliers that are drawn by the program; all, where the data holds none.
        rare_below: Leave out labels with fewer samples than this.
        cap_per_group: Most training samples of one patient or group, evenly spaced; 0 takes all.
        val_to_train: Share of the groups of val that are trained on instead, always the same ones; the run's
            ``splits.csv`` says which. A recipe that was tuned before needs fewer scans to choose its epoch than to
            learn. Not for meta-learning.
    """

    labels: tuple[str, ...] = ("glioma", "meningioma", "no_tumor", "pituitary")
    canvas: Annotated[int, msgspec.Meta(ge=16, le=LARGEST_SIDE)] = 192
    drop_copies: bool = True
    drop_conflicts: bool = True
    balance: Share = 0.5
    outliers: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.0
    some_tumor: Annotated[float, msgspec.Meta(ge=0, le=0.4)] = 0.0
    drawn: Share = 0.4
    rare_below: Natural = 0
    cap_per_group: Natural = 0
    val_to_train: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0


class AugmentConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Probabilities and strengths of the random changes; see augment.py for what each one does.

    Attributes:
        style: ``edgebrain`` changes everything below; ``flips`` mirrors alone; ``resized_crop`` is a random resized
            crop and a horizontal mirror; ``none`` changes nothing. Evaluation has the runtime's preprocessing in all.
        lesion: Probability that a scan without a tumour gets a drawn lesion, and becomes a scan with some tumour.
        crop: Probability that the head is cut off at its sides, each by up to a seventh, as a tight screenshot does.
        skull_strip: Probability that scalp and skull are peeled off, as collections of brains alone come.
        ghost: Probability of fainter copies beside the head, as movement leaves them.
        annotate: Probability that arrows, boxes or measured lines are drawn across the scan.
        mixup: Probability that a batch is mixed pairwise (Zhang et al., "mixup", ICLR 2018); until it calms down.
        mixing: Parameter of the Beta distribution of mixup: small keeps one of both nearly as it is, 1 takes any share.
        calm_from: Share of the epochs after which intensity and quality change less often, so that training ends close
            to what scans look like (as YOLOX ends without mosaic: Ge et al., 2021). 1 means never.
        calm: Factor on those probabilities from then on.
    """

    style: Literal["edgebrain", "flips", "resized_crop", "none"] = "edgebrain"
    flip: Share = 0.5
    flip_vertical: Share = 0.15
    quarter_turn: Share = 0.15
    affine: Share = 0.9
    rotation: Amount = 20.0
    zoom: Amount = 0.25
    squeeze: Amount = 0.2
    shear: Amount = 0.08
    shift: Amount = 0.08
    curve: Share = 0.6
    non_monotone: Share = 0.15
    invert: Share = 0.1
    clahe: Share = 0.25
    bias_field: Share = 0.3
    blur: Share = 0.15
    sharpen: Share = 0.1
    low_resolution: Share = 0.25
    noise: Share = 0.3
    jpeg: Share = 0.2
    marks: Share = 0.15
    crop: Share = 0.0
    skull_strip: Share = 0.0
    ghost: Share = 0.0
    annotate: Share = 0.0
    lesion: Share = 0.0
    mixup: Share = 0.0
    mixing: Positive = 0.4
    calm_from: Share = 1.0
    calm: Share = 0.4

    def at(self, epoch: int, epochs: int) -> AugmentConfig:
        """The probabilities that hold in an epoch.

        Args:
            epoch: From 0.
            epochs: Of the whole training.
        """
        if epoch < self.calm_from * epochs:
            return self
        return msgspec.structs.replace(self, **{name: getattr(self, name) * self.calm for name in _CALMED})


_CALMED = (
    "curve",
    "non_monotone",
    "invert",
    "clahe",
    "bias_field",
    "blur",
    "sharpen",
    "low_resolution",
    "noise",
    "jpeg",
    "marks",
    "mixup",
)


class OptimizerConfig(Section, frozen=True, forbid_unknown_fields=True):
    """The optimiser, and the loss it lowers.

    Attributes:
        name: Which one.
        lr: Learning rate; its peak where a schedule rises and falls.
        momentum: Of SGD.
        weight_decay: Decoupled for AdamW, else added to the gradient; AdamW spares norms and biases.
        label_smoothing: Share of the target that is spread over all labels.
        clip: Largest norm of the gradient; 0 does not clip.
        ema_decay: Decay of the moving average of the weights, which is what is validated and kept; 0 averages nothing.
    """

    name: Literal["adamw", "adam", "nadam", "sgd"] = "adamw"
    lr: Positive = 3e-3
    momentum: Share = 0.9
    weight_decay: Amount = 0.05
    label_smoothing: Share = 0.05
    clip: Amount = 2.0
    ema_decay: Share = 0.999


class ScheduleConfig(Section, frozen=True, forbid_unknown_fields=True):
    """How the learning rate moves.

    Attributes:
        name: ``one_cycle`` rises linearly and falls as a cosine, by step; ``plateau`` and ``step`` move by epoch.
        warmup: Share of the steps in which ``one_cycle`` rises.
        factor: What ``plateau`` and ``step`` multiply with.
        patience: Epochs without a lower validation loss that ``plateau`` waits for.
        every: Epochs between the drops of ``step``.
    """

    name: Literal["one_cycle", "constant", "plateau", "step"] = "one_cycle"
    warmup: Share = 0.1
    factor: Share = 0.1
    patience: Natural = 3
    every: Count = 7


class DistillConfig(Section, frozen=True, forbid_unknown_fields=True):
    """Learning from the answers of a larger network.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    The teacher sees the very pixels that the student sees, changes included, in every step (Beyer et al., "Knowledge
    distillation: a good teacher is patient and consistent", CVPR 2022).

    Attributes:
        teacher: Path of its ``model.safetensors``, or a list of several that answer together; empty for none. Networks
            that err on other scans know more together than each alone.
        weight: Share of its answers in the loss; the rest is the truth.
        temperature: Divides both logits; larger shows more of what the teacher thinks of the other labels.
    """

    teacher: str | tuple[str, ...] = ""
    weight: Share = 0.7
    temperature: Positive = 2.0


class TrainerConfig(Section, frozen=True, forbid_unknown_fields=True):
    """How long and how.

    Attributes:
        epochs: Passes over the data, at most.
        batch_size: Scans a step, over all processes and accumulated parts.
        precision: Arithmetic.
        workers: Processes that prepare batches.
        patience: Epochs without a better one after which training stops; 0 never stops early.
        accumulate: Parts into which a batch is divided, to save memory.
    """

    epochs: Count = 60
    batch_size: Annotated[int, msgspec.Meta(ge=2)] = 64
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] = "bf16-mixed"
    workers: Natural = 1
    patience: Natural = 0
    accumulate: Count = 1


PublishedArchitecture = Literal[
    "resnet18",
    "resnet50",
    "resnet101",
    "vgg16",
    "vgg19",
    "inception-v3",
    "densenet121",
    "xception",
    "efficientnet-b0",
    "vit",
]
Architecture = Literal["edge", "lite0", "cnn3", "cnn4", "cnn-tuned"] | PublishedArchitecture
PUBLISHED_ARCHITECTURES: tuple[str, ...] = get_args(PublishedArchitecture)
"""Architectures that the table ``transfer`` is for."""


class Recipe(Section, frozen=True, forbid_unknown_fields=True):
    """Everything that training a model depends on, but the data.

    Attributes:
        name: Name of the recipe, of its run folder and of the bundle made from it: no path, and no leading dot.
        description: One line for people.
        system: The system of the literature it reproduces, or ``edgebrain``.
        architecture: Name in the model registry.
        seed: Seed of everything random.
        start: Path of a ``model.safetensors`` of the same architecture to start from; empty starts at random. It must
            come from the same splits, or scans that judge have been trained on.
        start_share: Share of the weights of ``start`` in those that are kept when training is over; the rest is what
            was learned (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). Without a start there is
            nothing to mix.
        input: What the graph expects.
        data: Which samples are used.
        model: Shape of the ``edge`` network.
        lite: Shape of the ``lite0`` network.
        cnn: Shape of the small networks of plain convolutions.
        transfer: How a published architecture is used.
        augment: Random changes in training.
        optimizer: Optimiser and loss.
        schedule: Learning rate over time.
        distill: The teacher, where there is one.
        trainer: Duration and precision.
        search: What ``edgebrain tune`` may change, by key; see space.py.
        meta: Meta-learning, where the recipe is one for it.
    """

    name: str
    description: str
    system: str
    architecture: Architecture
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0
    start: str = ""
    start_share: Share = 0.0
    input: InputSpec = InputSpec()
    data: DataConfig = DataConfig()
    model: EdgeConfig = EdgeConfig()
    lite: LiteConfig = LiteConfig()
    cnn: CnnConfig = CnnConfig()
    transfer: TransferConfig = TransferConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    distill: DistillConfig = DistillConfig()
    trainer: TrainerConfig = TrainerConfig()
    search: dict[str, Any] = msgspec.field(default_factory=dict)
    meta: MetaConfig = MetaConfig()
