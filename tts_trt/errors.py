"""Every error that tts_trt raises on purpose.

    TtsTrtError               exit code 1
    ├── UsageError            exit code 2: the caller's words are wrong (options, text, emotion, duration)
    │   ├── TextError         empty, over-long or unspeakable text
    │   ├── ReferenceAudioError a reference recording that cannot be used
    │   └── ConfigError       a configuration file or recipe that does not fit its schema
    ├── WeightsError          a checkpoint with missing, unexpected or mis-shaped tensors
    ├── ExportError           a graph that does not check, or does not match torch
    ├── QuantError            calibration data that cannot be used, or that belongs to another model
    ├── BuildError            a plan that cannot be built here
    ├── BundleError           a bundle that is truncated, edited, foreign or too new
    ├── EngineError           an engine that cannot be loaded or bound
    │   └── LibraryError      a library that is not here: it can neither build (it is a BuildError too) nor run
    ├── SynthesisError        audio that must not leave the program: NaN, silent, cut short
    ├── Busy                  as many requests wait as may; ``retry_after`` says when to come again
    └── DeadlineExceeded      a request whose time was up before its audio was whole

An error says what was found, what was expected and, in ``hint``, the command or change that mends it.
"""

from __future__ import annotations


class TtsTrtError(Exception):
    """Base of every deliberate error. ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n  try: {self.hint}" if self.hint else text


class UsageError(TtsTrtError):
    """``field``: which part of a ``Request`` is at fault, where one is."""

    exit_code = 2
    field: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field or self.field


class TextError(UsageError):
    field = "text"


class ReferenceAudioError(UsageError):
    pass


class ConfigError(UsageError):
    pass


class WeightsError(TtsTrtError):
    pass


class ExportError(TtsTrtError):
    pass


class QuantError(TtsTrtError):
    pass


class BuildError(TtsTrtError):
    pass


class BundleError(TtsTrtError):
    pass


class EngineError(TtsTrtError):
    pass


class LibraryError(BuildError, EngineError):
    pass


class SynthesisError(TtsTrtError):
    pass


class Busy(TtsTrtError):
    """``retry_after``: seconds until there should be room."""

    def __init__(self, message: str, *, retry_after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DeadlineExceeded(TtsTrtError):
    pass
