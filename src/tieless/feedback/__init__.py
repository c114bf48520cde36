"""Feedback weights: the weights that carry the incoming gradient through a linear layer, its own or others."""

from __future__ import annotations

from tieless.feedback.carry import Carrier, deliver, send, undelivered
from tieless.feedback.geometry import Geometry
from tieless.feedback.kinds import (
    BatchwiseSign,
    DirectFeedbackAlignment,
    Feedback,
    FeedbackAlignment,
    FeedbackLike,
    FeedbackScale,
    FixedSign,
    TiedFeedback,
    UniformSign,
    feedback,
    feedbacks,
    key_of,
)

__all__ = [
    "BatchwiseSign",
    "Carrier",
    "DirectFeedbackAlignment",
    "Feedback",
    "FeedbackAlignment",
    "FeedbackLike",
    "FeedbackScale",
    "FixedSign",
    "Geometry",
    "TiedFeedback",
    "UniformSign",
    "deliver",
    "feedback",
    "feedbacks",
    "key_of",
    "send",
    "undelivered",
]
