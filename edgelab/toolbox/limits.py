"""How far a converted file may be from its source before it is thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgelab.golden.report import Checked, in_decibels

_MIN_SQNR_DB = {"float32": 60.0, "float16": 30.0, "int8": 10.0, "int8 weights": 15.0}
_MIN_AGREEMENT = {"float32": 99.0, "float16": 99.0, "int8": 90.0, "int8 weights": 95.0}
_MAX_LOSS_POINTS = 1.0
_FEWEST_ITEMS = 3  # so many may change sides where the data set is small, and one of them is more than a point


@dataclass(frozen=True)
class Limits:
    """What a file has to keep: the SQNR of every output in dB, percent of the same top answers, points of accuracy.

    A float file has to give the source's numbers. An int8 file may differ in them and has to keep the accuracy; where
    there are no labels, the top answers.
    """

    min_sqnr_db: float | None
    min_agreement: float | None
    max_loss: float | None

    @classmethod
    def of(cls, precision: str, *, labels: bool, items: int, classes: bool) -> Limits:
        """The limits for a type of weights and a data set of so many ``items``.

        Examples
        --------
        >>> Limits.of("float32", labels=False, items=32, classes=True)
        Limits(min_sqnr_db=60.0, min_agreement=None, max_loss=None)
        """
        if not precision.startswith("int8"):
            return cls(_MIN_SQNR_DB[precision], None, None)
        few = 100 * _FEWEST_ITEMS / max(1, items)
        if labels and classes:
            return cls(None, None, max(_MAX_LOSS_POINTS, few))
        if classes:
            return cls(None, min(_MIN_AGREEMENT[precision], 100 - few), None)
        return cls(_MIN_SQNR_DB[precision], None, None)

    def missed(self, checked: Checked) -> Iterator[str]:
        """A sentence for each limit that a file does not keep."""
        yield from (text for text in checked.reasons if "NaN" in text)
        for output in checked.outputs:
            if self.min_sqnr_db is not None and output.sqnr_db < self.min_sqnr_db:
                yield (
                    f"The SQNR of '{output.name}' against the source is {in_decibels(output.sqnr_db)}, and "
                    f"{self.min_sqnr_db:g} dB are asked for; the file was not kept."
                )
        agreement = checked.agreement
        if self.min_agreement is not None and agreement is not None and agreement.value < self.min_agreement:
            yield (
                f"It gives the source's top answer for {agreement.figure()}, and {self.min_agreement:.3g} % are asked "
                "for; the file was not kept."
            )
        if self.max_loss is not None and checked.loss is not None and checked.loss.loss.value > self.max_loss:
            yield (
                f"It loses {checked.loss.loss.figure()} of accuracy, and {self.max_loss:.3g} are allowed; the file was "
                "not kept."
            )

    def to_dict(self) -> dict[str, float | None]:
        """As JSON-ready data."""
        return dict(vars(self))
