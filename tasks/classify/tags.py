"""The task of a tag for each word: names of persons and places, parts of speech."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from mlflow.models.model import ModelInfo
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.evaluation import batches_by_length, logits_of
from tasks.batches.labelled import Labelled
from tasks.batches.tagged import TaggedText, TaggedTexts, tagged_texts
from tasks.classify import tag_card, tag_checks
from tasks.classify.entities import OUTSIDE, as_bio, counts_of, scheme_of, spans, total
from tasks.classify.mlflow_models import TAGGED_WORDS, TEXT_OR_WORDS, log_script
from tasks.classify.outputs import Prediction
from tasks.classify.served.entities import tag_words, words_of
from tasks.classify.task import Baseline, ClassifyTask, Outcome, Phase, Splits
from tasks.config import ClassifyConfig
from tasks.data.token_files import IGNORED, Split
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models.classifier import TAGS
from tasks.preflight.report import Report
from tasks.rows import Alike, Row
from tasks.rows.tagged_words import NAME, sentence
from tasks.statistics.bounded import weighted_interval
from tasks.statistics.intervals import Sources


class Tags(ClassifyTask):
    """A tag for each word, by a softmax over all tags at the word's first token."""

    name = NAME
    head = TAGS
    scorer = "metric:sentence-f1"
    card = tag_card.CARD
    logged: ClassVar = {"eval_f1": "validation_f1"}

    def require(self, split: str, rows: Sequence[Row]) -> None:
        for row in rows:
            if not isinstance(row.get("words"), list) or not isinstance(row.get("tags"), list):
                raise StageError(
                    f"{split} row {row.get('id')} holds {', '.join(row)}; expected words and their tags. "
                    "Read the rows with rows.format=tokens"
                )

    def read(self, rows: Path) -> Splits:
        """With the tags in BIO, whatever scheme of entities they are in."""
        found = super().read(rows)
        scheme = scheme_of([row["tags"] for members in found.values() for row in members])
        return {
            split: [row | {"tags": as_bio(row["tags"], scheme)} for row in members]
            for split, members in found.items()
        }

    def labels(self, found: Splits) -> tuple[str, ...]:
        learned = {tag for row in found["train"] for tag in row["tags"]}
        if len(learned) < 2:
            raise StageError(
                f"a classifier of words learns to tell tags apart: found {', '.join(learned) or 'none'} in "
                f"{len(found['train'])} training rows; expected at least two tags. Fix the rows"
            )
        return tuple(sorted({tag for rows in found.values() for row in rows for tag in row["tags"]}))

    def tensors(
        self,
        labels: tuple[str, ...],
        tokenizer: PreTrainedTokenizerBase,
        found: Splits,
        batch_size: int,
        groups: Alike | None = None,
    ) -> TaggedTexts:
        places = {label: place for place, label in enumerate(labels)}
        texts = {split: tagged_texts(tokenizer, rows, places) for split, rows in found.items()}
        return TaggedTexts(labels, found, texts, tokenizer, batch_size, tokenizer.model_max_length, groups)

    def loss(self, output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Cross-entropy, the mean over the words."""
        logits = output.logits.float().flatten(0, 1)
        total = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / ((labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)

    def evaluate(
        self,
        model: PreTrainedModel,
        data: Labelled,
        heeding: Callable[[Iterable[int]], Iterable[int]],
        together: Callable[[Tensor], Tensor],
    ) -> dict[str, float]:
        found = _outcome(data, "validation", together(_word_logits(model, data, "validation", heeding)))
        truth = (row["tags"] for row in data.rows["validation"])
        counts = total(counts_of(*pair) for pair in zip(truth, found.given, strict=True))
        return {"eval_loss": found.loss, "eval_f1": counts.f1}

    def preflight(
        self,
        config: ClassifyConfig,
        model: PreTrainedModel,
        data: Labelled,
        phase: Phase,
        corpus: Split | None,
    ) -> Report:
        return tag_checks.preflight_tags(config, model, data, self.loss, phase, corpus)

    def preflight_rows(self, data: Labelled, phase: Phase, corpus: Split | None) -> Report:
        return tag_checks.preflight_tagged_rows(data, phase, corpus)

    def predict(self, model: PreTrainedModel, data: Labelled, split: str) -> Outcome:
        return _outcome(data, split, _word_logits(model, data, split))

    def asked(self, row: Row) -> Json:
        return {"id": row["id"], "words": row["words"], "tags": row["tags"]}

    def truth(self, row: Row) -> list[str]:
        return row["tags"]

    def score(self, truth: Sequence[str], given: Sequence[str]) -> float:
        """F1 of a sentence's entities; of none that are to be none it is 100."""
        counts = counts_of(truth, given)
        return 100.0 * counts.f1 if counts.true + counts.given else 100.0

    def measured(
        self, truth: Sequence[list[str]], given: Sequence[list[str]], labels: Sequence[str], sources: Sources
    ) -> Json:
        """F1 over all entities, its interval over sentences, which count by their entities."""
        del labels  # of entities the types count
        pairs = list(zip(truth, given, strict=True))
        counts = [counts_of(*pair) for pair in pairs]
        every = total(counts)
        has_any = [place for place, one in enumerate(counts) if one.true + one.given]
        low, high = 0.0, 1.0
        if has_any:
            _, low, high = weighted_interval(
                [counts[place].f1 for place in has_any],
                [counts[place].true + counts[place].given for place in has_any],
                0.0,
                1.0,
                [sources[place] for place in has_any] if sources else (),
            )
        words = [one == other for pair in pairs for one, other in zip(*pair, strict=True)]
        kinds = sorted({span.type for tags in truth for span in spans(tags)})
        by_type = {kind: total(counts_of(*pair, kind) for pair in pairs) for kind in kinds}
        return {
            "rows": len(pairs),
            "f1": {"mean": every.f1, "low": low, "high": high},
            "precision": every.precision,
            "recall": every.recall,
            "tag_accuracy": sum(words) / len(words),
            "by_type": {
                kind: {"precision": one.precision, "recall": one.recall, "f1": one.f1, "entities": one.true}
                for kind, one in by_type.items()
            },
        }

    def baselines(self, data: Labelled) -> list[Baseline]:
        return [_majority(data), _most_frequent(data)]

    def log(self, name: str, folder: Path, labels: Sequence[str], predictions: list[Prediction]) -> ModelInfo:
        inputs = [self.inputs(row) for row in predictions]
        return log_script(
            "entities", name, folder, inputs, TAGGED_WORDS, {"tags": list(labels)}, TEXT_OR_WORDS
        )

    def inputs(self, prediction: Prediction) -> Json:
        return {"text": sentence(prediction), "words": prediction["words"]}

    def difference(self, prediction: Prediction, answer: Json) -> str | None:
        found, expected = (" ".join(tags) for tags in (answer["tags"], prediction["predicted"]))
        return None if found == expected else f"{found}, expected {expected}"

    def answer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
        words = [text[start:stop] for start, stop in words_of(text)]
        tags, _ = tag_words(model, tokenizer, words) if words else ([], [])
        found = [f"{' '.join(words[one.start : one.stop])} ({one.type})" for one in spans(tags)]
        return ", ".join(found) or "none"


TASK = Tags()


@torch.no_grad()
def _word_logits(
    model: PreTrainedModel,
    data: Labelled,
    split: str,
    heeding: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Tensor:
    """(words of all sentences, tags); zero of words that were cut off, or that are left to others."""
    texts: list[TaggedText] = data.texts[split]
    begins = [0]
    for text in texts:
        begins.append(begins[-1] + len(text.tags))
    was_training = model.training
    model.eval()
    found = torch.zeros(begins[-1], len(data.labels))
    for places in batches_by_length(texts, data.batch_size, heeding):
        logits = logits_of(model, data.collate([texts[place] for place in places])).float().cpu()
        for own, place in zip(logits, places, strict=True):
            for word, first in enumerate(texts[place].firsts):
                if first is not None:
                    found[begins[place] + word] = own[first]
    model.train(was_training)
    return found


def _outcome(data: Labelled, split: str, logits: Tensor) -> Outcome:
    """A word that was cut off has no tag of its own: it is outside, or has the first tag by name."""
    unread = OUTSIDE if OUTSIDE in data.labels else data.labels[0]
    shares, truth = logits.double().softmax(dim=1), []
    given, sure, begin = [], [], 0
    for text in data.texts[split]:
        own = shares[begin : begin + len(text.tags)]
        read = [first is not None for first in text.firsts]
        chosen = own.argmax(dim=1).tolist()
        given.append(
            [data.labels[tag] if is_read else unread for tag, is_read in zip(chosen, read, strict=True)]
        )
        known = own.amax(dim=1)[torch.tensor(read)]
        sure.append(known.min().item() if len(known) else 0.0)
        truth += [tag if is_read else IGNORED for tag, is_read in zip(text.tags, read, strict=True)]
        begin += len(text.tags)
    is_known = all(tag != IGNORED for text in data.texts[split] for tag in text.tags)
    loss = F.cross_entropy(logits.double(), torch.tensor(truth), ignore_index=IGNORED).item()
    return Outcome(given, sure, loss if is_known and math.isfinite(loss) else None)


def _words_of(data: Labelled, split: str) -> Iterator[tuple[str, str]]:
    for row in data.rows[split]:
        yield from zip(row["words"], row["tags"], strict=True)


def _commonest(counts: Counter[str]) -> str:
    """Of equally frequent ones the first by name."""
    return min(counts, key=lambda tag: (-counts[tag], tag))


def _majority(data: Labelled) -> Baseline:
    counts = Counter(tag for _, tag in _words_of(data, "train"))
    tag = _commonest(counts)
    share = counts[tag] / counts.total()
    given = [[tag] * len(row["words"]) for row in data.rows["test"]]
    return Baseline("majority tag", f"always {tag}, the tag of {share:.1%} of the training words", given)


def _most_frequent(data: Labelled) -> Baseline:
    """Each word's most frequent tag in the training rows; the majority's for a word that is not there."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word, tag in _words_of(data, "train"):
        counts[word][tag] += 1
    tags = {word: _commonest(own) for word, own in counts.items()}
    other = _commonest(Counter(tag for _, tag in _words_of(data, "train")))
    given = [[tags.get(word, other) for word in row["words"]] for row in data.rows["test"]]
    every = [word for row in data.rows["test"] for word in row["words"]]
    new = sum(word not in tags for word in every) / len(every)
    description = (
        f"each word's most frequent tag in the training rows; {other} for the {new:.1%} that are new"
    )
    return Baseline("most frequent tag", description, given)
