"""ALBEF: contrast with soft targets, matching with hard negatives, hidden words. B pairs, D width."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.functional.albef_terms import IGNORED, draw_negatives, itc, itm, mlm, negative_weights
from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import Gather, gathered, unit
from sslkit.interfaces import Draw, Objective, Output, Tokens
from sslkit.nn.negative_queue import Queue
from sslkit.plugin import Env
from sslkit_text.albef_settings import Fusion, matched, text_facts, visible, with_class
from sslkit_text.fusion_network import FusionNetwork
from sslkit_text.masked_words import WordHead, rank_share
from sslkit_text.pair_objective import Pairs

LOWEST, HIGHEST = 0.001, 0.5
"""Bounds of the temperature (ALBEF)."""


class Embeddings(NamedTuple):
    """Of length 1, `[B, D]`: of both sides, and of their moving averages."""

    image: Tensor
    text: Tensor
    image_m: Tensor
    text_m: Tensor


@final
class ALBEFObjective(Objective):
    """The terms whose weight is above 0; matching and hidden words share the fusion network."""

    compares = True
    origin: Tensor
    image_projection_m: nn.Linear
    text_projection_m: nn.Linear
    network_m: FusionNetwork
    word_head_m: WordHead

    def __init__(self, fusion: Fusion, env: Env) -> None:
        super().__init__()
        self.fusion, named = fusion, fusion.passes()
        self.pairs = Pairs(fusion.view, fusion.net, fusion.text_view, fusion.text_net)
        self.names, self.passes = tuple(named), tuple(named.values())
        self.follows = fusion.teacher
        self.pad, words = text_facts(fusion, env)
        width, image_width = env.net(fusion.text_net).dim, env.net(fusion.net).dim
        self.register_buffer("origin", torch.randint(1 << 40, ()))  # begins where the run's seed says
        twins: list[str] = []
        if fusion.contrast:
            self.image_projection = nn.Linear(image_width, fusion.dim)
            self.text_projection = nn.Linear(width, fusion.dim)
            self.temperature = nn.Parameter(torch.tensor(fusion.temperature))
            self.image_queue, self.text_queue = (Queue(fusion.queue, fusion.dim) for _ in range(2))
            twins += ["image_projection", "text_projection"]
        if fusion.matching or fusion.words:
            self.network = FusionNetwork(width, image_width, fusion.depth, fusion.heads)
        if fusion.matching:
            self.match = nn.Linear(width, 2)
        if fusion.words:
            self.word_head = WordHead(width, words)
            twins += ["network", "word_head"]
        for name in twins:
            self.add_module(f"{name}_m", copy.deepcopy(self.get_submodule(name)).requires_grad_(False))
        self.twins = {name: f"{name}_m" for name in twins}
        self.schedules = {
            "step": float,
            "alpha": lambda step: fusion.alpha * min(1.0, env.length.epoch(step)),
        }

    def embed_images(self, features: Tensor) -> Tensor:
        """Features `[..., D]` of the network that reads images -> embeddings of length 1."""
        return unit(self.image_projection(features))

    def embed_texts(self, features: Tensor) -> Tensor:
        """Features `[..., D]` of the network that reads texts -> embeddings of length 1."""
        return unit(self.text_projection(features))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighed sum of the terms."""
        read, weights = dict(zip(self.names, tokens, strict=True)), self.fusion
        losses: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        embeddings, carry = None, {}
        if weights.contrast:
            embeddings = self._embed(read)
            losses["itc"] = weights.contrast * self._contrast(embeddings, now["alpha"])
            metrics |= {
                "temperature": self.temperature.detach(),
                "feature_std": feature_std(embeddings.image),
            }
            carry = {"images": embeddings.image_m, "texts": embeddings.text_m}
        if weights.matching:
            logits = self._matching(read, embeddings, now)
            losses["itm"] = weights.matching * itm(logits)
            metrics["matched"] = matched(logits)
        if weights.words:
            loss, metrics["accuracy"] = self._words(read, now["alpha"])
            losses["mlm"] = weights.words * loss
        metrics |= {f"loss_{name}": loss.detach() for name, loss in losses.items()}
        return Output(torch.stack(list(losses.values())).sum(), metrics, carry)

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Put the moving averages' embeddings into the queues, and keep the temperature in its bounds."""
        if self.fusion.contrast:
            self.image_queue.commit(carry["images"])
            self.text_queue.commit(carry["texts"])
            self.temperature.data.clamp_(LOWEST, HIGHEST)

    def _embed(self, read: Mapping[str, Tokens]) -> Embeddings:
        with torch.no_grad():
            image_m = unit(self.image_projection_m(read["image_m"].cls[0]))
            text_m = unit(self.text_projection_m(read["text_m"].cls[0]))
        image, text = self.embed_images(read["image"].cls[0]), self.embed_texts(read["text"].cls[0])
        return Embeddings(image, text, image_m, text_m)

    def _contrast(self, e: Embeddings, alpha: Tensor) -> Tensor:
        """Both directions; each queue holds what the other modality is compared with."""
        forth = self._direction(e.image, e.image_m, e.text_m, self.text_queue(), alpha)
        back = self._direction(e.text, e.text_m, e.image_m, self.image_queue(), alpha)
        return (forth + back) / 2

    def _direction(
        self, query: Tensor, query_m: Tensor, key_m: Tensor, queue: Tensor, alpha: Tensor
    ) -> Tensor:
        keys = gathered(key_m, self._gather)
        candidates = torch.cat([keys.rows, queue.to(keys.rows.dtype)])
        return itc(query, candidates, query_m, self.temperature, alpha, keys.first)

    @property
    def _gather(self) -> Gather:
        return "gradient" if self.fusion.gather else "none"

    def _matching(
        self, read: Mapping[str, Tokens], e: Embeddings | None, now: Mapping[str, Tensor]
    ) -> Tensor:
        """Logits `[3B, 2]`: pairs, texts with another image, images with another text."""
        image, text, words = (
            with_class(read["image"]),
            read["text"].patch[0],
            visible(read["text"], self.pad),
        )
        images, texts = gathered(image, self._gather), gathered(text, self._gather)
        rows = torch.arange(images.first, images.first + len(image), device=image.device)
        count = len(images.rows)
        draws = Draw(0, self.origin + now["step"].long() * count + rows).uniform(2)
        other_image = draw_negatives(self._chances(e, "text", "image_m", image, rows, count), draws[:, 0])
        other_text = draw_negatives(self._chances(e, "image", "text_m", image, rows, count), draws[:, 1])
        all_words = gathered(words, self._gather).rows
        fused = self.network(
            torch.cat([text, text, texts.rows[other_text]]),
            torch.cat([words, words, all_words[other_text]]),
            torch.cat([image, images.rows[other_image], image]),
        )
        logits: Tensor = self.match(fused[:, 0])
        return logits

    @torch.no_grad()
    def _chances(
        self, e: Embeddings | None, query: str, key: str, like: Tensor, rows: Tensor, count: int
    ) -> Tensor:
        """Chances `[B, all pairs]` of each to be a row's negative; equal ones without the contrast."""
        if e is None:
            return negative_weights(like.new_zeros(count, count))[rows]
        queries, keys = (gathered(getattr(e, name), self._gather).rows for name in (query, key))
        return negative_weights(queries @ keys.mT / self.temperature)[rows]

    def _words(self, read: Mapping[str, Tokens], alpha: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of hidden words, and the share of them that is right."""
        hidden = read["masked"].image[0, :, 1]
        labels = hidden.where(hidden != self.pad, IGNORED)
        logits = self._word_logits(read["masked"], read["image"], self.network, self.word_head)
        with torch.no_grad():
            goal = self._word_logits(read["masked_m"], read["image_m"], self.network_m, self.word_head_m)
            asked = labels != IGNORED
            right = ((logits.argmax(-1) == labels) & asked).sum() / asked.sum().clamp(min=1)
        return mlm(logits, labels, goal, alpha) * rank_share(asked), right

    def _word_logits(self, text: Tokens, image: Tokens, network: nn.Module, head: nn.Module) -> Tensor:
        fused = network(text.patch[0], visible(text, self.pad), with_class(image))
        logits: Tensor = head(fused)
        return logits
