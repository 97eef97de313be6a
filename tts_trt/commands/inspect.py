"""What `tts-trt inspect` shows of a bundle, from its manifest alone."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from tts_trt.manifest import GraphEntry, Manifest

MB = 1e6


def describe(bundle: Path, manifest: Manifest) -> RenderableType:
    return Group(_heading(bundle, manifest), _graphs(manifest), _figures(manifest))


def _heading(bundle: Path, manifest: Manifest) -> Table:
    table = Table(show_header=False, box=None, title=str(bundle), title_justify="left")
    total = sum(entry.bytes for entry in manifest.files.values())
    limits = ", ".join(f"{name} {value or 'as the model'}" for name, value in manifest.limits.items())
    rows = {
        "model": f"{manifest.model.name}, weights {manifest.model.weights_sha256[:12]}",
        "precision": f"{manifest.precision}, float inputs and outputs {manifest.float_type}",
        "executor": f"{manifest.executor.name} {manifest.executor.version}",
        "built": f"{manifest.created:%Y-%m-%d %H:%M} UTC by tts_trt {manifest.tts_trt}",
        "host": f"{manifest.host.platform}, GPU {manifest.host.gpu or 'none'}",
        "latents": manifest.latents,
        "limits": limits,
        "voices": ", ".join(manifest.assets.voices) or "none",
        "size": f"{total / MB:.1f} MB in {len(manifest.files)} files",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _graphs(manifest: Manifest) -> Table:
    table = Table(title="graphs", title_justify="left")
    for column in ("graph", "MB", "compute nodes by precision", "profiles"):
        table.add_column(column, justify="right" if column == "MB" else "left")
    for graph in manifest.graphs:
        size = sum(entry.bytes for name, entry in manifest.files.items() if name.startswith(graph.file))
        census = ", ".join(f"{name} {count}" for name, count in sorted(graph.dtypes.items())) or "none"
        table.add_row(graph.name, f"{size / MB:.2f}", census, _profile_text(graph))
    return table


def _profile_text(graph: GraphEntry) -> str:
    """First tensor of each profile: min, opt and max shape."""
    shown = []
    for profile in graph.profiles:
        for tensor, (low, usual, high) in list(profile.items())[:1]:
            shown.append(f"{tensor} " + " / ".join("x".join(map(str, shape)) for shape in (low, usual, high)))
    return "\n".join(shown) or "any shape"


def _figures(manifest: Manifest) -> Table:
    table = Table(show_header=False, title="verification", title_justify="left")
    for name, value in manifest.verification.items():
        table.add_row(name, str(value))
    return table
