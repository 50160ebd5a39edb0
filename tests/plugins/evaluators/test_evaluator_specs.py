"""What the specs of evaluators refuse beside fields without effect, and the metrics that they promise. Torch-free."""

from __future__ import annotations

from typing import Any

import pytest

from sslkit import PEFT, Finetune, LogisticRegression, LowShot, Probing, Retrieval, Robustness
from sslkit.errors import SpecError
from sslkit.specs.families import EvaluatorSpec
from sslkit.specs.load import parse
from tests.specs.valid import small


def refusal(evaluator: dict[str, Any], **fields: Any) -> str:
    """What a run with this evaluator is told."""
    with pytest.raises(SpecError) as caught:
        parse(small(evaluate=[evaluator], **fields))
    return str(caught.value)


@pytest.mark.parametrize("kind", ["finetune", "peft"])
@pytest.mark.parametrize(
    ("readout", "field"),
    [
        ({"layer": 0}, "layer"),
        ({"head": "mae.decoder"}, "head"),
        ({"pool": "mean", "pyramid": [1, 2]}, "pyramid"),
    ],
    ids=["layer", "head", "pyramid"],
)
def test_a_readout_that_a_trained_network_does_not_have_is_refused(kind, readout, field):
    message = refusal({"kind": kind}, readout=readout)
    assert message.startswith("evaluate.0: trains the whole network and reads its last block")
    assert f"so `readout.{field}` has no effect on it" in message


@pytest.mark.parametrize("kind", ["finetune", "peft"])
def test_the_readout_s_pool_is_read_by_what_is_trained(kind):
    run = parse(small(evaluate=[{"kind": kind}], readout={"pool": "mean"}))
    assert run.readout.pool == "mean"


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        ({"kind": "lowshot", "shares": [], "shots": []},
         "evaluate.0.shots: is empty and so is `shares`; give a number of images"),
        ({"kind": "robustness", "corruptions": ["contrast", "jpeg", "contrast"]},
         "evaluate.0.corruptions: 'contrast' is given twice; keep one"),
        ({"kind": "robustness", "severities": [5, 5]}, "evaluate.0.severities: 5 is given twice; keep one"),
        ({"kind": "robustness", "severities": [0]}, "evaluate.0.severities.0: must be greater than or equal to 1"),
        ({"kind": "robustness", "severities": []}, "evaluate.0.severities: must have at least 1"),
        ({"kind": "robustness", "corruptions": ["fog"]}, "evaluate.0.corruptions.0: 'fog' is not a choice."),
        ({"kind": "finetune", "epochs": 5, "warmup_epochs": 5},
         "evaluate.0.warmup_epochs: 5 epochs of warm-up leave nothing of 5"),
        ({"kind": "peft", "targets": []}, "evaluate.0.targets: must have at least 1"),
        ({"kind": "logistic", "strengths": [1.0, 0.0]}, "evaluate.0.strengths.1: must be greater than 0"),
        ({"kind": "logistic", "holdout": 1.0}, "evaluate.0.holdout: must be less than 1"),
        ({"kind": "retrieval", "ks": []}, "evaluate.0.ks: must have at least 1"),
    ],
)  # fmt: skip
def test_what_can_give_no_score_is_refused_by_its_field(evaluator, message):
    assert message in refusal(evaluator)


@pytest.mark.parametrize("sizes", [{"shares": [], "shots": [1]}, {"shares": [0.5], "shots": []}])
def test_one_kind_of_size_is_enough_for_few_images(sizes):
    assert parse(small(evaluate=[{"kind": "lowshot", **sizes}])).evaluate[0].kind == "lowshot"


@pytest.mark.parametrize(
    ("spec", "metrics"),
    [
        (Retrieval(ks=(1, 20)), {"map", "recall_1", "recall_20"}),
        (Robustness(corruptions=("jpeg",)), {"accuracy", "clean_accuracy", "relative", "jpeg_accuracy"}),
        (LogisticRegression(), {"accuracy", "strength", "holdout_accuracy"}),
        (LogisticRegression(strengths=(1.0,)), {"accuracy", "strength"}),
        (LowShot(shares=(0.015,), shots=(2,)), {"area", "accuracy_2shot", "accuracy_1.5pct"}),
        (Probing(attributes=("color",)), {"accuracy", "color_accuracy", "color_layer"}),
        (Probing(), {"accuracy", "*_accuracy", "*_layer"}),
        (Finetune(), {"accuracy", "top5", "train_loss"}),
        (PEFT(), {"accuracy", "top5", "train_loss", "trainable_share"}),
    ],
    ids=lambda value: value.kind_name() if isinstance(value, EvaluatorSpec) else "",
)
def test_metrics_are_named_by_the_fields_that_make_them(spec, metrics):
    assert spec.reported_metrics().keys() == metrics


def test_all_published_corruptions_are_the_default():
    names = Robustness().reported_metrics().keys()
    assert len([name for name in names if name.endswith("_accuracy") and name != "clean_accuracy"]) == 8


@pytest.mark.parametrize(
    ("spec", "changed", "same"),
    [
        (Finetune(lr=1e-3), "finetune@2(lr=0.001)", Finetune(accumulate=4)),
        (PEFT(rank=4), "peft@1(rank=4)", PEFT(accumulate=4)),
        (Retrieval(gallery="test"), "retrieval@1(gallery=test)", Retrieval(every="2 epochs")),
    ],
    ids=["finetune", "peft", "retrieval"],
)  # fmt: skip
def test_protocols_name_what_changes_scores(spec, changed, same):
    assert spec.build().protocol == changed
    assert same.build().protocol.partition("(")[0] == changed.partition("(")[0]
