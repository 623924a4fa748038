"""Make the weights of the ear's judgement of pauses: `python -m loadtests.bench._ear_training`.

Speech of voices and sentences that the benchmark `ear` never uses runs through the ear itself; every pause it asks
about is one example: the end of the utterance, or not. A perceptron with one hidden layer is fitted by Adam.
The same seed gives the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import ear_ending
from edge.ear import Ear
from edge.ear_ending import FEATURES, EndingModel
from edge.inference import VoiceActivity
from edge.transports.link import MicrophoneUnit
from loadtests.bench._ear_corpus import Utterance, training_questions, utterances

__all__ = ["examples", "fit", "main"]

_UTTERANCES: Final = 3_600
_EVERY: Final = 100
"""Utterances rendered at a time."""
_FADING_S: Final = 0.1
"""What is quiet this shortly before the end is neither."""
_HIDDEN: Final = 6
_MEMBERS: Final = 3
"""Fitted from different starts, then joined into one that gives their mean."""
_STEPS: Final = 2_000
_BATCH: Final = 512
_DECAY: Final = 0.1
"""Strong: with less, it learns the sentences by heart and fails on others."""
_SHORT_WEIGHT: Final = 0.5
"""Of utterances of a word or two, of which the training has more than a conversation."""
_SHORT_WORDS: Final = 3
_SEED: Final = 7

Matrix = NDArray[np.float32]


class _Recorder(EndingModel):
    """Writes down what the ear asks, and never says that it is the end."""

    def __init__(self) -> None:
        self.asked: list[Matrix] = []

    def probability(self, features: Matrix) -> float:
        """Never."""
        self.asked.append(features)
        return 0.0


def examples(spoken: list[Utterance], vad: VoiceActivity) -> tuple[Matrix, Matrix, NDArray[np.int64]]:
    """What the ear sees of every pause.

    Returns: features float32[n, FEATURES]; 1.0 where it was the end, float32[n]; the utterance's index, int64[n].
    """
    rows: list[Matrix] = []
    ends: list[float] = []
    owners: list[int] = []
    for owner, utterance in enumerate(spoken):
        recorder = _Recorder()
        ear = Ear(vad, ending=recorder)
        for index, packet in enumerate(utterance.packets):
            if packet.needed:
                unit = MicrophoneUnit(packet.opus, packet.timestamp, index, packet.level_dbov, None)
                ear.receive(unit, packet.captured_at)
            else:
                ear.handle_timer(packet.captured_at)
            for features in recorder.asked:
                ended = packet.captured_at >= utterance.end_s
                if ended or packet.captured_at < utterance.end_s - _FADING_S:
                    rows.append(features)
                    ends.append(float(ended))
                    owners.append(owner)
            recorder.asked.clear()
    return np.stack(rows), np.asarray(ends, np.float32), np.asarray(owners)


def fit(features: Matrix, ends: Matrix, weight: Matrix, *, seed: int) -> dict[str, Matrix]:
    """Members that differ in their seed, joined: the mean of their logits."""
    members = [_fit_one(features, ends, weight, seed=seed + index) for index in range(_MEMBERS)]
    hidden = np.concatenate([member["hidden"] for member in members], axis=1)
    inner = [member["output"][:-1] for member in members]
    bias = np.sum([member["output"][-1:] for member in members], axis=0)
    output = np.concatenate([*inner, bias]) / _MEMBERS
    return {"mean": members[0]["mean"], "scale": members[0]["scale"], "hidden": hidden, "output": output}


def _fit_one(features: Matrix, ends: Matrix, weight: Matrix, *, seed: int) -> dict[str, Matrix]:
    """Adam on the cross entropy, with weight decay; both kinds of example weigh the same."""
    rng = np.random.default_rng(seed)
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    inputs = np.clip((features - mean) / scale, -4, 4)
    inputs = np.concatenate((inputs, np.ones((len(inputs), 1))), axis=1)
    share = float((weight * ends).sum() / weight.sum())
    weight = weight * np.where(ends > 0.5, 0.5 / max(1e-6, share), 0.5 / max(1e-6, 1 - share))
    hidden = rng.normal(scale=FEATURES**-0.5, size=(FEATURES + 1, _HIDDEN))
    output = rng.normal(scale=_HIDDEN**-0.5, size=_HIDDEN + 1)
    moments = [np.zeros_like(hidden), np.zeros_like(hidden), np.zeros_like(output), np.zeros_like(output)]
    for step in range(1, _STEPS + 1):
        chosen = rng.integers(0, len(inputs), _BATCH)
        x, y, w = inputs[chosen], ends[chosen], weight[chosen]
        x = x + rng.normal(scale=0.1, size=x.shape) * (np.arange(FEATURES + 1) < FEATURES)
        inner = np.concatenate((np.tanh(x @ hidden), np.ones((_BATCH, 1))), axis=1)
        error = w * (1.0 / (1.0 + np.exp(-(inner @ output))) - y) / _BATCH
        slope_output = inner.T @ error + _DECAY * output
        back = error[:, None] * output[:-1] * (1.0 - inner[:, :-1] ** 2)
        slope_hidden = x.T @ back + _DECAY * hidden
        rate = 0.01 * 0.5 * (1.0 + np.cos(np.pi * step / _STEPS))
        for value, slope, first, second in (
            (hidden, slope_hidden, moments[0], moments[1]),
            (output, slope_output, moments[2], moments[3]),
        ):
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            value -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return {"mean": mean, "scale": scale, "hidden": hidden, "output": output}


def main() -> None:
    """Render, listen, fit, write."""
    parser = argparse.ArgumentParser(description="Train the ear's judgement of pauses.")
    parser.add_argument("--utterances", type=int, default=_UTTERANCES)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--out", type=Path, default=Path(ear_ending.__file__).parent / "models" / "ear_ending.json")
    options = parser.parse_args()
    vad = VoiceActivity()
    questions = training_questions(options.utterances, options.seed)
    parts = []
    for first in range(0, len(questions), _EVERY):
        spoken = utterances(questions[first : first + _EVERY], seed=first, rooms=True)
        features, ends, owners = examples(spoken, vad)
        words = np.array([utterance.words for utterance in spoken])[owners]
        parts.append((features, ends, np.where(words <= _SHORT_WORDS, _SHORT_WEIGHT, 1.0)))
        print(f"{first + len(spoken)} of {len(questions)} utterances", flush=True)
    features, ends, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    weights = fit(features, ends, weight, seed=options.seed)
    document = {
        "made_by": "python -m loadtests.bench._ear_training",
        "features": list(ear_ending.FEATURE_NAMES),
        **{name: np.round(value.astype(np.float64), 4).tolist() for name, value in weights.items()},
    }
    options.out.write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
