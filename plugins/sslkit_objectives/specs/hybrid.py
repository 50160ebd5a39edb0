"""Hybrid objective: a weighted set of terms. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    BalancerField,
    Combined,
    ObjectiveField,
    ObjectiveSpec,
    Problem,
    SpecError,
    odd_names,
    slot_default,
)
from sslkit_objectives.specs.masked import MAE
from sslkit_objectives.specs.regularizers import Uniformity

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class Hybrid(ObjectiveSpec):
    """Several objectives on one backbone, balanced: `Hybrid(mim=MAE(), contrast=InfoNCE(), balance=PCGrad())`.

    As the objective of a run it stands for `objectives` and `balance`; it may also be a term of another hybrid.
    """

    kind: Literal["hybrid"] = "hybrid"
    objectives: Mapping[str, ObjectiveField] = Field(min_length=1)
    """Its terms, by name. In Python each can be an argument of its own."""
    balance: BalancerField = slot_default("fixed")
    """How the losses of its terms become one; inside another hybrid, one that weighs losses and not gradients."""

    def __init__(self, /, **fields: object) -> None:
        """Check `fields`; those that are no field of a hybrid are terms. Raises SpecError."""
        names = type(self).model_fields
        terms = {name: value for name, value in fields.items() if name not in names}
        values = {name: value for name, value in fields.items() if name in names}
        objectives = values.get("objectives", {})
        if terms and isinstance(objectives, Mapping):  # anything else is refused below
            for name in terms.keys() & objectives.keys():
                raise SpecError(f"Hybrid.objectives.{name}: is also an argument of its own; give it once")
            values["objectives"] = {**objectives, **terms}
        super().__init__(**values)

    # pydantic then builds nested hybrids itself, as it does other specs
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def example(cls) -> Self:
        """A masked autoencoder, and half as much of a term that keeps its features apart, out of the same pass."""
        mim = MAE.example()
        return cls(mim=mim, apart=Uniformity(masker=mim.masker, weight=0.5))

    def combined(self) -> Combined:
        """Its terms and their balance."""
        return Combined(self.objectives, self.balance)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Names of terms are names of modules, metrics and files."""
        yield from odd_names("objectives", self.objectives)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """A balancer of one loss."""
        yield from super().unused(run)
        if len(self.objectives) == 1 and self.balance.kind_name() != "fixed":
            yield Problem(
                "balance",
                f"{self.balance.kind_name()!r} balances several objectives, and there is one; leave it out",
            )

    def build(self, env: Env) -> Objective:
        """Runs build the terms themselves.

        Raises:
            SpecError: always; a hybrid has no module of its own.
        """
        raise SpecError("a hybrid is no module of its own: build the run that it is part of, or its terms")
