"""Makes the real Python bindings of TensorRT 10 and 11 importable without their large libraries or a GPU.

Each bindings wheel (1.3 MB) goes into .cache/bindings/<version>/, next to empty shared libraries that stand
in for libnvinfer and its companions: every function returns null. Classes, enums and signatures are then the
real ones; nothing can be built or run. Needs pip, a C compiler and binutils.

    python scripts/stub_bindings.py [--root .cache/bindings]
    PYTHONPATH=.cache/bindings/10.16.1.11 python -c "import tensorrt; print(tensorrt.__version__)"
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "tensorrt-cu13-bindings"
VERSIONS = ("10.16.1.11", "11.4.0.106")
SHIM = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(".cache/bindings"))
    root = parser.parse_args().root
    for version in VERSIONS:
        folder = root / version
        if imported_version(folder) != version:
            install(version, folder)
        if (found := imported_version(folder)) != version:
            sys.exit(f"{folder}: imported {found!r}, expected {version}")
        print(f"tensorrt {version} bindings in {folder}")


def install(version: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--target", str(folder), f"{PACKAGE}=={version}"], check=True)
    extension = folder / "tensorrt_bindings" / "tensorrt.so"
    libraries = re.findall(
        r"NEEDED.*\[(libnv\w+\.so\.\d+)\]", output_of("readelf", "--dynamic", str(extension))
    )
    symbols = missing_symbols(extension)
    for library in libraries:
        # All symbols in one library; the linker only asks that the others exist.
        write_stub(extension.parent / library, symbols if library.startswith("libnvinfer.") else [])
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.py").write_text(SHIM)


def missing_symbols(extension: Path) -> list[str]:
    """Functions the extension needs and this process, a Python with libstdc++, does not provide."""
    ctypes.CDLL("libstdc++.so.6", ctypes.RTLD_GLOBAL)
    process = ctypes.CDLL(None)
    lines = output_of("nm", "--dynamic", "--undefined-only", str(extension)).splitlines()
    names = [line.split()[-1] for line in lines if line.split()[0] == "U"]
    return [name for name in names if "@" not in name and not hasattr(process, name)]


def write_stub(path: Path, symbols: list[str]) -> None:
    source = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in symbols)
    compiler = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{path.name}"]
    subprocess.run([*compiler, "-o", str(path)], input=source, text=True, check=True)


def imported_version(folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)"],
        env=os.environ | {"PYTHONPATH": str(folder.resolve())},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or result.stderr.strip().rpartition("\n")[2]


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
