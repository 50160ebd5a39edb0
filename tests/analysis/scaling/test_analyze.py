"""From a sweep to a report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sslkit.analysis.scaling.analyze import Question, analyze
from sslkit.analysis.scaling.estimates import Optimum, Prediction
from sslkit.analysis.scaling.fit_report import as_json, columns, facts, parameters, predicted, title, warnings
from sslkit.analysis.scaling.laws import JointLaw, PowerLaw
from sslkit.analysis.scaling.sweep_results import Row, Sweep
from sslkit.errors import SpecError
from tests.analysis.scaling import planted


def sweep_of(notes=(), **columns):
    rows = [
        Row(f"run {i}", dict(zip(columns, values, strict=True)), tuple(notes))
        for i, values in enumerate(zip(*columns.values(), strict=True))
    ]
    return Sweep(tuple(rows))


def sizes(**more):
    x, y = planted.single(9, 0.01, seed=1)
    return sweep_of(parameters=x, loss=y, **more)


def both(**more):
    n, d, y = planted.grid(noise=0.01, seed=1)
    return sweep_of(parameters=n, images=d, loss=y, **more)


def ask(**changes):
    return Question(**{"resamples": 100, **changes})


def test_a_law_of_parameters_is_the_default():
    report = analyze(sizes(), Question())
    assert isinstance(report.law, PowerLaw)
    assert report.names == ("parameters", "loss")
    assert report.law.exponent.low <= planted.ALPHA <= report.law.exponent.high
    assert (report.predictions, report.breaks, report.sigmoid, report.notes) == ([], None, None, [])
    assert len(report.law.sample.theta) == 1001, "1000 resamples, as the help says"


def test_any_column_can_stand_on_the_right():
    x, y = planted.single(9, 0.01, seed=1)
    report = analyze(sweep_of(width=x, wer=y), ask(x="width", y="wer"))
    assert report.names == ("width", "wer")
    assert title(report) == "wer = E + A x^-alpha, x = width from 1e+05 to 3e+07, 9 runs"


def test_a_missing_column_is_named():
    with pytest.raises(SpecError) as caught:
        analyze(sizes(), ask(x="tokens"))
    assert str(caught.value) == "run 0: has no 'tokens'. It has parameters, loss"
    with pytest.raises(SpecError, match=r"^run 0: has no 'images'"):
        analyze(sizes(), ask(joint=True))


def test_an_accuracy_is_read_as_an_error():
    x, y = planted.single(9, 0.01, seed=1)
    report = analyze(sweep_of(parameters=x, accuracy=1 - y), ask(y="accuracy", reading="error"))
    assert report.names.y == "1 - accuracy"
    np.testing.assert_allclose(report.law.y, y)


@pytest.mark.parametrize(
    ("value", "shown"), [(55.0, "55"), (1.0, "1"), (-0.1, "-0.1"), (float("nan"), "nan")]
)
def test_an_error_is_that_of_a_share(value, shown):
    sweep = sweep_of(parameters=[1, 2], accuracy=[0.5, value])
    with pytest.raises(SpecError) as caught:
        analyze(sweep, ask(y="accuracy", reading="error"))
    assert str(caught.value) == (
        f"run 1: accuracy is {shown}; --as error takes shares from 0 to below 1 and fits 1 minus them"
    )


def test_extrapolation_is_of_x():
    report = analyze(sizes(), ask(extrapolate=[1e8, 1e10]))
    assert all(isinstance(one, Prediction) for one in report.predictions)
    assert [one.at for one in report.predictions] == [(1e8,), (1e10,)]
    assert columns(report) == ["parameters", "loss"]
    assert list(predicted(report)) == [
        ["1e+08", str(report.predictions[0].value)],
        ["1e+10", str(report.predictions[1].value)],
    ]
    assert list(warnings(report)) == [f"1e+10 is {report.predictions[1].warning}"]


def test_with_joint_it_is_of_compute():
    report = analyze(both(), ask(joint=True, extrapolate=[1e13, 1e20]))
    assert isinstance(report.law, JointLaw)
    assert all(isinstance(one, Optimum) for one in report.predictions)
    assert columns(report) == ["compute", "best parameters", "best images", "loss"]
    first = report.predictions[0]
    assert next(predicted(report)) == ["1e+13", str(first.parameters), str(first.images), str(first.value)]
    assert [text[:9] for text in warnings(report)] == ["no run ha", "1e+20 is "]


def test_compute_is_six_per_parameter_and_image_where_nothing_is_known():
    report = analyze(both(), ask(joint=True))
    assert report.law.cost == 6
    assert report.notes == ["no run has FLOPs: compute is taken as 6 N D"]


def test_compute_is_what_the_runs_used():
    n, d, _ = planted.grid()
    report = analyze(both(flops=102 * n * d), ask(joint=True))
    assert report.law.cost == pytest.approx(102)
    assert report.notes == []


def test_compute_that_differs_is_averaged_and_told():
    n, d, _ = planted.grid()
    each = np.where(np.arange(16) % 2, 50.0, 200.0)
    report = analyze(both(flops=each * n * d), ask(joint=True))
    assert report.law.cost == pytest.approx(100)
    assert report.notes == [
        "FLOPs for each parameter and image differ by a factor of 4 between runs; "
        "the best split takes their geometric mean"
    ]
    with pytest.raises(SpecError, match=r"^flops: must be above 0 in every run$"):
        analyze(both(flops=0 * n), ask(joint=True))


def test_a_law_of_one_of_two_that_change_warns():
    d = np.geomspace(1e6, 1e8, 9)
    assert analyze(sizes(images=d), ask()).notes == [
        "images change too, from 1e+06 to 1e+08; the exponent of parameters mixes both effects. "
        "--joint tells them apart"
    ]
    x, y = planted.single(9, 0.01, seed=1)
    swapped = sweep_of(parameters=d, images=x, loss=y)
    assert (
        analyze(swapped, ask(x="images")).notes[0].startswith("parameters change too, from 1e+06 to 1e+08;")
    )


def test_what_stands_still_does_not_warn():
    assert analyze(sizes(images=np.linspace(1.0, 1.09, 9)), ask()).notes == []
    assert analyze(sizes(images=np.zeros(9)), ask()).notes == []


def test_notes_on_flops_are_told_where_flops_matter():
    x, y = planted.single(9, 0.01, seed=1)
    notes = ["FLOPs are not recorded: taken so", "t.csv has no column flops: so", "run 3 was stopped"]
    sweep = sweep_of(notes, parameters=x, flops=x, loss=y)
    assert analyze(sweep, ask()).notes == notes[2:]
    assert analyze(sweep, ask(x="flops")).notes == notes


def test_emergence_looks_for_both():
    x, _ = planted.single(10)
    metric = 0.1 + 0.7 / (1 + (x / 2e6) ** -2.5)
    report = analyze(
        sweep_of(parameters=x, accuracy=metric), ask(y="accuracy", reading="error", emergence=True)
    )
    assert report.breaks is not None
    assert report.sigmoid is not None
    assert report.sigmoid.found
    assert report.sigmoid.high > report.sigmoid.low, "of the metric as it is, and not of 1 minus it"
    said = list(facts(report))
    assert said[-2:] == [report.breaks.verdict, report.sigmoid.verdict]


def test_emergence_is_along_one_variable():
    with pytest.raises(SpecError) as caught:
        analyze(both(), ask(joint=True, emergence=True))
    assert str(caught.value) == "--emergence: looks along one variable; give it without --joint, with --x"


def test_the_seed_and_the_resampling_are_passed_on():
    one, two, three = (
        analyze(sizes(), ask(**changes)).law.exponent for changes in ({}, {"seed": 1}, {"over": "points"})
    )
    assert len({one, two, three}) == 3
    assert one.value == two.value == three.value


def test_facts_of_a_law():
    report = analyze(sizes(), ask())
    law, aic = report.law, report.law.support
    assert list(facts(report)) == [
        f"R² of log y {law.r2:.4f}; noise {law.noise:.2%} of y",
        f"the data ask for the offset (AIC {aic.no_offset - aic.law:+.1f} without it, "
        f"{aic.constant - aic.law:+.1f} for a constant)",
    ]


def test_facts_of_a_law_that_needs_no_offset():
    x, y = planted.single(9, 0.01, seed=1, offset=0.0)
    assert (
        "a law without the offset fits as well"
        in list(facts(analyze(sweep_of(parameters=x, loss=y), ask())))[1]
    )


def test_facts_of_the_joint_law():
    report = analyze(both(), ask(joint=True))
    a = report.law.split.value
    assert (
        list(facts(report))[2]
        == f"compute C = 6 N D; at its best N grows as C^{a:.3f} and D as C^{1 - a:.3f}"
    )
    assert title(report) == "loss = E + A / N^alpha + B / D^beta, N parameters, D images seen, 16 runs"


def test_parameters_have_their_intervals():
    report = analyze(sizes(), ask())
    alpha = report.law.exponent
    rows = list(parameters(report.law))
    assert [row[0] for row in rows] == ["alpha", "A", "E"]
    assert rows[0] == ("alpha", f"{alpha.value:.4g}", f"{alpha.low:.4g} to {alpha.high:.4g}")
    joint = list(parameters(analyze(both(), ask(joint=True)).law))
    assert [row[0] for row in joint] == ["alpha", "beta", "A", "B", "E", "split a"]


def test_json_has_every_number():
    report = analyze(sizes(), ask(extrapolate=[1e10], emergence=True))
    data = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert (data["law"], data["x"], data["y"], data["runs"]) == ("power_law", "parameters", "loss", 9)
    assert data["exponent"] == report.law.exponent._asdict()
    assert data["coefficient"] == report.law.coefficient._asdict()
    assert data["offset"] == report.law.offset._asdict()
    assert data["aic"] == report.law.support._asdict()
    assert (data["r2"], data["noise"]) == (report.law.r2, report.law.noise)
    (there,) = data["extrapolation"]
    assert (there["at"], there["y"]) == (1e10, report.predictions[0].value._asdict())
    assert there["beyond"] == pytest.approx(1e10 / 3e7)
    assert data["break"]["found"] is report.breaks.found
    assert data["break"]["p"] == report.breaks.p
    assert data["sigmoid"]["found"] is report.sigmoid.found
    assert data["sigmoid"]["midpoint"] == report.sigmoid.midpoint._asdict()
    assert data["warnings"] == list(warnings(report))


def test_json_of_the_joint_law():
    report = analyze(both(), ask(joint=True, extrapolate=[1e13]))
    data = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert data["law"] == "joint"
    law = report.law
    for name in ("alpha", "beta", "parameters_coefficient", "images_coefficient", "offset", "split"):
        assert data[name] == getattr(law, name)._asdict()
    assert data["flops_per_parameter_and_image"] == 6
    best = report.predictions[0]
    assert data["extrapolation"] == [
        {
            "at": 1e13,
            "parameters": best.parameters._asdict(),
            "images": best.images._asdict(),
            "y": best.value._asdict(),
            "beyond": 1.0,
        }
    ]
    assert not {"break", "sigmoid"} & data.keys()
