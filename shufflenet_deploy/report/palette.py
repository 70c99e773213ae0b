"""The colours of page and charts, in light and dark, distinguishable with colour blindness too.

Text has a contrast of at least 4.5 : 1 on the page, marks of at least 3 : 1 (WCAG 2.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "page": "#ffffff",
    "raised": "#f5f6f8",
    "ink": "#1a1d23",
    "soft": "#5b6472",
    "rule": "#dfe3e8",
    "accent": "#1f6feb",
    "paper": "#c2500a",
    "theory": "#7a3fc4",
    "good": "#116632",
    "bad": "#c0202c",
    "doubt": "#8a5a00",
}

DARK: Mapping[str, str] = {
    "page": "#12151b",
    "raised": "#1b2029",
    "ink": "#e8ebf0",
    "soft": "#9aa5b5",
    "rule": "#2c3440",
    "accent": "#6aa5ff",
    "paper": "#ff9a52",
    "theory": "#c39bff",
    "good": "#62d08d",
    "bad": "#ff7b82",
    "doubt": "#f0c050",
}


def declared(colours: Mapping[str, str]) -> str:
    """The colours as CSS custom properties."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def settled(css: str, colours: Mapping[str, str]) -> str:
    """A style sheet with its ``var(--name)`` replaced, for programs that know no variables."""
    return re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], css)
