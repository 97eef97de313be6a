"""``python -m tts_trt``: the command line without an installed entry point."""

from __future__ import annotations

from tts_trt.cli import main

if __name__ == "__main__":
    main()
