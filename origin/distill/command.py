"""`visavis distill`: make the student animator. Heavy imports wait until a step runs."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["Progress", "register"]

_FOLDER: Final = Path("out/distill")
_CORPUS: Final = "corpus.npz"
_TRIALS: Final = "trials"
_PLAIN: Final = "plain"
_MINUTES: Final = 75.0
_PART_BY_PEOPLE: Final = 0.25
_STEPS: Final = 13_000
_PRUNING_STEPS: Final = 1_200
_BAR: Final = 30


class Progress:
    """A bar on standard error; on a terminal it moves, elsewhere it says every tenth."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = -1

    def __call__(self, done: float, note: str = "") -> None:
        """Show how much is done, in [0, 1]."""
        terminal = sys.stderr.isatty()
        step = math.floor(done * (100 if terminal else 10))
        if step == self._said:
            return
        self._said = step
        filled = round(done * _BAR)
        line = f"{self._what} [{'#' * filled}{'.' * (_BAR - filled)}] {done:4.0%} {note}"
        sys.stderr.write(f"\r{line}" + ("\n" if done >= 1.0 else "") if terminal else line.rstrip() + "\n")
        sys.stderr.flush()


def register(subparsers: Subparsers) -> None:
    """Add `visavis distill`."""
    parser = subparsers.add_parser(
        "distill", help="make the student animator", description="Make the student animator."
    )
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)

    def step(name: str, handler: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = steps.add_parser(name, help=text, description=text)
        added.set_defaults(handler=handler)
        added.add_argument("--out", type=Path, default=_FOLDER, help=f"working folder (default: {_FOLDER})")
        return added

    corpus = step("corpus", _corpus, "synthesise speech with exact phonemes, as microphones hear it")
    corpus.add_argument("--minutes", type=float, default=_MINUTES, help=f"of speech (default: {_MINUTES:g})")
    corpus.add_argument("--no-people", action="store_true", help="only espeak-ng's voices, none of flite's")
    train = step("train", _train, "train the student on the corpus (needs the extra [distill])")
    train.add_argument("--steps", type=int, default=_STEPS, help=f"default: {_STEPS}")
    train.add_argument("--threads", type=int, default=1, help="other weights for another number; 0: one per core")
    train.add_argument("--plain", action="store_true", help="without augmentation, to see what it is worth")
    quantize = step("quantize", _quantize, "make the INT8 models, try 4 bits and pruning (needs the extra [distill])")
    quantize.add_argument("--steps", type=int, default=_PRUNING_STEPS, help=f"of pruning (default: {_PRUNING_STEPS})")
    adapt = step("adapt", _adapt, "fit a character to recordings (needs the extra [distill])")
    adapt.add_argument(
        "recordings", type=Path, help="folder of WAV files, each with a text (.txt) or a face (.csv, .json)"
    )
    adapt.add_argument("--name", required=True, help="of the character: a-z, 0-9 and -")
    adapt.add_argument(
        "--styles", type=Path, help="TOML of styles for recordings that have only a text (default: ours)"
    )
    adapt.add_argument("--json", action="store_true", help="print the score as JSON")
    evaluate = step("evaluate", _evaluate, "write a report with pictures")
    evaluate.add_argument("--report", type=Path, default=Path("out"), help="folder of the report (default: out)")
    evaluate.add_argument("--natural", type=Path, help="folder of recordings (WAV with text)")
    evaluate.add_argument("--cards", action="store_true", help="also write the model cards beside the models")
    for each in (corpus, train, quantize, adapt):
        each.add_argument("--seed", type=int, default=1)
    for each in (train, quantize, adapt, evaluate):
        each.add_argument("--models", type=Path, default=Path("edge/models"), help="folder of the models")


def _needs_training() -> None:
    try:
        import onnx  # noqa: F401
        import onnx_ir  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing; install it with `pip install -e '.[distill]'`") from None


def _corpus(options: argparse.Namespace) -> int:
    from origin.distill import corpus

    if not 0.1 <= options.minutes <= 6_000:
        raise ConfigError("--minutes must be from 0.1 to 6000")
    people = 0.0 if options.no_people else _PART_BY_PEOPLE
    clips = corpus.build(options.minutes, seed=options.seed, others=2, people=people, progress=Progress("corpus"))
    corpus.save(options.out / _CORPUS, clips)
    return 0


def _train(options: argparse.Namespace) -> int:
    _needs_training()
    from origin.distill.school import train_and_ship
    from origin.distill.train import TrainingPlan

    plan = TrainingPlan(steps=_counted(options.steps), seed=options.seed, augment=not options.plain)
    models = options.out / _PLAIN if options.plain else options.models
    train_and_ship(options.out / _CORPUS, models, plan, threads=options.threads, progress=Progress("train"))
    return 0


def _quantize(options: argparse.Namespace) -> int:
    _needs_training()
    from origin.distill.school import quantize_and_ship
    from origin.distill.train import TrainingPlan

    plan = TrainingPlan(steps=_counted(options.steps), seed=options.seed)
    quantize_and_ship(options.out / _CORPUS, options.models, options.out / _TRIALS, plan, progress=Progress("prune"))
    return 0


def _counted(steps: int) -> int:
    if not 1 <= steps <= 1_000_000:
        raise ConfigError("--steps must be from 1 to 1000000")
    return steps


def _evaluate(options: argparse.Namespace) -> int:
    from origin.distill.evaluate import evaluate

    path = evaluate(
        options.models, options.report, natural=options.natural, trials=options.out / _TRIALS,
        plain=options.out / _PLAIN, cards=options.cards, progress=Progress("evaluate"),
    )  # fmt: skip
    sys.stdout.write(f"{path}\n")
    return 0


def _adapt(options: argparse.Namespace) -> int:
    _needs_training()
    from origin.distill.school import adapt_and_ship

    score = adapt_and_ship(
        options.recordings, options.models, name=options.name, styles=options.styles, seed=options.seed,
        progress=Progress("adapt"),
    )  # fmt: skip
    if options.json:
        sys.stdout.write(json.dumps(score) + "\n")
    else:
        sys.stdout.write(
            f"{score['character']}: held-out error {score['error_before']:.4f} before, {score['error_after']:.4f} "
            f"after ({score['held_out_s']:.0f} of {score['material_s']:.0f} s); {score['file']}\n"
        )
    return 0
