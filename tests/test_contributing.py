"""CONTRIBUTING.md is followed to the letter: its files are written and its command is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_the_page_works(tmp_path: Path, make_video: Any) -> None:
    text = PAGE.read_text()
    files = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in files] == ["brightest.py", "arrow_of_time.py", "my_recipe.py"]
    for name, code in files:
        (tmp_path / name).write_text(code)
    for seed in range(3):
        make_video(tmp_path / "videos" / f"{seed}.mp4", seed=seed)
    (command,) = re.findall(r"```sh\n(PYTHONPATH=. tubelet run .*?)\n```", text)
    done = subprocess.run(
        f"{command} --no-prefect --store store",
        shell=True,
        cwd=tmp_path,
        env=os.environ
        | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 computed" in done.stdout
    (log,) = (tmp_path / "store" / "artifacts" / "pretrain").glob("*/log.jsonl")
    assert len(log.read_text().splitlines()) == 2
