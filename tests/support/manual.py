"""The README's sections and the manual's pages, as text and as the commands that stand in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "src" / "ownerd" / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def sections() -> dict[str, str]:
    """Return the README's sections by their titles, in its order."""
    parts = re.split(r"^## (.*)\n", README.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def script_of(text: str) -> str:
    """Return the commands of a text; Python becomes a command, too."""
    lines = []
    for language, code in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.M | re.S):
        lines.append(code if language == "sh" else f"python - <<'PY'\n{code}PY\n")
    return "".join(lines)
