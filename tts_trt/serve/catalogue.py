"""Which bundle speaks: a client's words for a model, a precision and a policy, looked up in what is open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tts_trt.choice import Offer, pick_bundle
from tts_trt.errors import ConfigError, UsageError
from tts_trt.policy import SCENARIOS, Live, load_policy, shipped
from tts_trt.serve.errors import ApiError
from tts_trt.serve.messages import Model
from tts_trt.serve.settings import Settings


class Catalogue:
    """``report``: of `tts-trt report`, the evidence that policies choose by."""

    def __init__(self, models: Sequence[Model], settings: Settings) -> None:
        self.models = tuple(models)
        self._aliases, self._voices = settings.models, settings.voices
        self._by_id = {model.id: model for model in models}
        self._policies = {str(policy): bundle for policy, bundle in settings.policies.items()}
        if unknown := [name for name in self._policies.values() if name not in self._by_id]:
            raise ConfigError(
                f"policies name {unknown[0]}, which is not served; there are {', '.join(self._by_id)}"
            )
        if unknown := [name for name in self._aliases.values() if not self._of(name)]:
            raise ConfigError(
                f"models name {unknown[0]}, which is not served; there are {', '.join(self.names)}"
            )
        self._chosen = _chosen(self.models, _report(settings.engines.report))
        self.live = shipped(Live)

    @property
    def names(self) -> list[str]:
        """All that a client may call a model."""
        return list(dict.fromkeys([*self._by_id, *(m.model for m in self.models), *self._aliases]))

    def model(self, name: str, precision: str | None = None, policy: str | None = None) -> Model:
        """ApiError for a model that is not served, or not in this precision."""
        found = self._of(self._aliases.get(name, name))
        if not found:
            raise ApiError(
                404,
                f"there is no model {name!r}, only {', '.join(self.names)}",
                code="model_not_found",
                param="model",
            )
        if precision is not None:
            fitting = [model for model in found if model.precision == precision]
            if not fitting:
                there = ", ".join(dict.fromkeys(model.precision for model in found))
                raise ApiError(
                    400, f"{name} is not served in {precision}, only in {there}", param="tts_trt.precision"
                )
            found = fitting
        if policy is not None and precision is None:
            wanted = self._policies.get(policy) or self._chosen.get((found[0].model, policy))
            found = [model for model in found if model.id == wanted] or found
        return found[0]

    def voice(self, name: str) -> str:
        return self._voices.get(name, name)

    def _of(self, name: str) -> list[Model]:
        if name in self._by_id:
            return [self._by_id[name]]
        return [model for model in self.models if model.model == name]


def _chosen(models: Sequence[Model], report: Mapping[str, Any] | None) -> dict[tuple[str, str], str]:
    """By model and policy, where a policy finds a bundle that will do."""
    chosen: dict[tuple[str, str], str] = {}
    offers = {name: [_offer(m) for m in models if m.model == name] for name in {m.model for m in models}}
    for name, there in offers.items():
        for policy in SCENARIOS:
            try:
                chosen[name, policy] = pick_bundle(load_policy(policy), report, there).offer.name
            except UsageError as error:
                if isinstance(error, ConfigError):
                    raise
    return chosen


def _offer(model: Model) -> Offer:
    return Offer(
        name=model.id,
        path=model.path,
        precision=model.precision,
        executor=model.executor,
        model=model.model,
        weights_sha256=model.weights_sha256,
        manifest_sha256=model.manifest_sha256,
    )


def _report(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    try:
        report: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="tts-trt report writes report.json"
        ) from error
    return report
