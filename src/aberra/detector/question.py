"""Question: what a method asks a model, and what is made of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aberra.capabilities import MapsProbability
from aberra.detector.postprocess import CaseScore, PostProcess
from aberra.options import checked, conforming

if TYPE_CHECKING:
    from aberra.method import Method
    from aberra.scores import SmoothedScore


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a method asks a model, and what is made of the answer.

    Attributes:
        score: gives the map.
        postprocess: cleans it.
        case_question: score that gives the map of the case score; None where it is the same.
        case_score: one number of that map.
    """

    score: SmoothedScore
    postprocess: PostProcess
    case_question: SmoothedScore | None
    case_score: CaseScore

    @property
    def of_disease(self) -> bool:
        """Whether the case score is a probability: the case has a question of its own, whose map
        is one.
        """
        asked = None if self.case_question is None else self.case_question.score
        return isinstance(asked, MapsProbability) and asked.probability

    @classmethod
    def of(cls, method: Method, model: Any) -> Question:
        """Build what a method asks a model, or the model's class.

        Raises:
            ConfigError: an option that cannot be.
            PairingError: the model cannot answer.
        """
        from aberra.scores import SmoothedScore, check_pairing

        case = dict(method.case)
        other = conforming(case.pop("score", None), dict[str, Any] | None, "case.score")
        score = SmoothedScore.of(method.score)
        question = None if other is None else SmoothedScore.of(other)
        for each in (score, question):
            if each is not None:
                check_pairing(model, each.score)
        return cls(
            score=score,
            postprocess=PostProcess(**checked(PostProcess, method.postprocess, "postprocess")),
            case_question=question,
            case_score=CaseScore(**checked(CaseScore, case, "case")),
        )
