"""Prompts as token ids: words go in as ids, and only the text between them is tokenised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Protocol

from torch import Tensor

from llmcodec.errors import ConfigError, PromptError
from llmcodec.llm import FrozenLLM
from llmcodec.prompting.templates import TaskTemplate, instruction
from llmcodec.vocabulary import Vocabulary

Ids = list[int]


class ClipCodes(Protocol):
    """The part of AudioCodes that a prompt needs: one clip's codes, a LongTensor [1, T_l] per layer, -1 for padding."""

    @property
    def layers(self) -> tuple[Tensor, ...]: ...


class ClipWords(tuple[int, ...]):
    """Token ids of a clip's words in the order of a prompt; `rows` are the same, layer by layer."""

    rows: tuple[tuple[int, ...], ...]

    def __new__(cls, rows: Iterable[Sequence[int]]) -> ClipWords:
        kept = tuple(tuple(row) for row in rows)
        words = super().__new__(cls, chain.from_iterable(kept))
        words.rows = kept
        return words


class PromptBuilder:
    """Build the prompts of one template for one language model.

    vocabularies, layer_names: those of the codec, in its order. Raises ConfigError if the template names a layer that
    the codec does not have, ModelError if a word of a chosen layer is no single token of `llm`.

    Every prompt begins with the model's bos token, if it has one. Each segment of text is tokenised on its own, so a
    clip's words and a label are the same ids wherever they stand.
    """

    def __init__(
        self,
        template: TaskTemplate,
        llm: FrozenLLM,
        vocabularies: Sequence[Vocabulary],
        layer_names: Sequence[str],
    ) -> None:
        self.template = template
        self.llm = llm
        self._vocabularies, self._layer_names = vocabularies, layer_names
        by_name = dict(zip(layer_names, enumerate(vocabularies), strict=True))
        for name in template.layers:
            if name not in by_name:
                raise ConfigError(
                    f"{template.origin}: layers: the codec has no layer {name!r}; allowed: {', '.join(layer_names)}"
                )
        self._tables = {name: (by_name[name][0], by_name[name][1].token_ids(llm)) for name in template.layers}
        self._start = [] if llm.bos_id is None else [llm.bos_id]
        self._head, self._lead = llm.tokenize(template.head), llm.tokenize(template.lead)
        self._tail, self._query_head = llm.tokenize(template.tail), llm.tokenize(template.query_head)

    def like(self, template: TaskTemplate) -> PromptBuilder:
        """The builder of another template, for the same model and codec."""
        return PromptBuilder(template, self.llm, self._vocabularies, self._layer_names)

    @property
    def words(self) -> dict[int, str]:
        """All words of the template's layers, each once, by token id."""
        return {
            token: word
            for index, table in self._tables.values()
            for token, word in zip(table, self._vocabularies[index].words, strict=True)
        }

    @property
    def tokens(self) -> list[list[int]]:
        """The token of each word, for each of the template's layers."""
        return [table for _, table in self._tables.values()]

    def word_ids(self, codes: ClipCodes) -> ClipWords:
        """Token ids of one clip's words: the template's layers, one after another, without padding."""
        rows = []
        for name, (index, table) in self._tables.items():
            layer = codes.layers[index]
            if len(layer) != 1:
                raise PromptError(f"a prompt takes the codes of one clip, got {len(layer)}; pass codes[i]")
            layer = layer[layer >= 0]
            if len(layer) and int(layer.max()) >= len(table):
                raise PromptError(f"code {int(layer.max())} of layer {name} is outside its {len(table)} words")
            rows.append([table[code] for code in layer.tolist()])
        return ClipWords(rows)

    def label_ids(self, label: str) -> Ids:
        """Token ids that continue a `direct` prompt with `label`, and that stand in each of its demonstrations.

        The spaces before {label} in the template's demonstration are part of them: for "label: {label}" these are the
        ids of " " + label, and the query ends with "label:".
        """
        if not label.strip():
            raise PromptError(f"the label {label!r} is empty; a label needs at least one character")
        return self.llm.tokenize(self.template.label_space + label)

    def context(self, demonstrations: Sequence[Sequence[int]]) -> Ids:
        """Prompt of one class, for `channel` scoring: its clips' words, no label, ready for the words of another clip.

        demonstrations: the `word_ids` of each clip; none gives the context that knows of no class. There is no
        instruction. What follows is the query's `word_ids`; see `check` for their room.
        """
        blocks = [[*self._head, *words, *self._tail] for words in demonstrations]
        ids = [*self._start, *chain.from_iterable(blocks), *self._head]
        self.check(len(ids), "a class's demonstrations", [len(block) for block in blocks])
        return ids

    def direct(
        self, demonstrations: Sequence[tuple[Sequence[int], str]], query: Sequence[int],
        labels: Sequence[str] | None = None,
    ) -> Ids:  # fmt: skip
        """Prompt whose next tokens are the query's label: instruction, demonstrations of all classes, query.

        demonstrations: `word_ids` and label of each clip, in prompt order; query: its `word_ids`.
        labels: the classes that the instruction names and that may follow, default those of the demonstrations; sorted.
        """
        names = sorted({label for _, label in demonstrations} if labels is None else set(labels))
        blocks = [self._block(words, label) for words, label in demonstrations]
        ids = [
            *self._begin(names),
            *chain.from_iterable(blocks),
            *self._query_head,
            *query,
            *self._lead,
        ]
        answer = max((len(self.label_ids(name)) for name in names), default=0)
        self.check(len(ids) + answer, "a query with its demonstrations", [len(block) for block in blocks])
        return ids

    def lesson(self, demonstrations: Sequence[tuple[Sequence[int], str]], limit: int) -> tuple[Ids, list[slice]]:
        """A `direct` prompt without a query, to learn from, and where the label of each demonstration stands in it.

        It ends before the first demonstration with which it would be longer than `limit` tokens; so there may be fewer
        places than demonstrations.
        """
        ids, places = self._begin(sorted({label for _, label in demonstrations})), []
        for words, label in demonstrations:
            block = self._block(words, label)
            if len(ids) + len(block) > limit:
                break
            end = len(ids) + len(block) - len(self._tail)
            places.append(slice(end - len(self.label_ids(label)), end))
            ids += block
        return ids, places

    def _begin(self, labels: Sequence[str]) -> Ids:
        return [*self._start, *self.llm.tokenize(instruction(self.template, labels))]

    def _block(self, words: Sequence[int], label: str) -> Ids:
        return [*self._head, *words, *self._lead, *self.label_ids(label), *self._tail]

    def check(self, n_tokens: int, what: str, demonstrations: Sequence[int] = ()) -> None:
        """Raise PromptError if `n_tokens`, prompt and continuation together, exceed the model's context.

        what: names the prompt in the message. demonstrations: how many of the tokens each demonstration takes, in
        prompt order, to say how many would fit.
        """
        limit = self.llm.max_context
        if n_tokens <= limit:
            return
        message = f"{what}: {n_tokens} tokens are more than the {limit} of {self.llm.name}"
        if demonstrations:
            room = limit - n_tokens + sum(demonstrations)
            fitting = sum(used <= room for used in accumulate(demonstrations))
            raise PromptError(
                f"{message}; {fitting} of {len(demonstrations)} demonstrations would fit, or use shorter clips"
            )
        raise PromptError(f"{message}; use shorter clips or fewer demonstrations")
