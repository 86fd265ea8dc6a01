"""Learners, and the chapter: what a training step is, and many of them in one dispatch."""

from seqjax.train.adversarial import AdversarialLoss, Player, adversarial
from seqjax.train.chapter import Fetch, SeedPlan, make_chapter
from seqjax.train.grid import at_point, grid
from seqjax.train.in_turn import Turn, in_turn, learned_by
from seqjax.train.learner import Aux, averaged, make_train_step
from seqjax.train.minimise import Loss, minimise
from seqjax.train.optimizer import optimizer, scaled_by_hyper, schedule

__all__ = [
    "AdversarialLoss",
    "Aux",
    "Fetch",
    "Loss",
    "Player",
    "SeedPlan",
    "Turn",
    "adversarial",
    "at_point",
    "averaged",
    "grid",
    "in_turn",
    "learned_by",
    "make_chapter",
    "make_train_step",
    "minimise",
    "optimizer",
    "scaled_by_hyper",
    "schedule",
]
