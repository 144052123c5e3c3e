"""Which language a reader gets, and the words of that language.

Source texts are English; Chinese comes from ``collector/locale/zh/LC_MESSAGES/collector.po``,
read when the program starts.  No compiled catalogue is kept, so none can be out of date.
Names of points, rules and reasons come from the edge in both languages and are only chosen here.
"""

from __future__ import annotations

import gettext
import io
from functools import cache
from pathlib import Path
from typing import Literal

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

Language = Literal["zh", "en"]

LANGUAGES: tuple[Language, ...] = ("zh", "en")
#: where a reader asks for nothing that we have
DEFAULT: Language = "zh"
#: value of the HTML attribute ``lang``
HTML_LANG: dict[Language, str] = {"zh": "zh-CN", "en": "en"}
LOCALE = Path(__file__).resolve().parent.parent / "locale"


def known(text: str | None) -> Language | None:
    """Returns the language that a word such as ``zh``, ``zh-CN`` or ``en_GB`` names, if we have it."""
    main = (text or "").strip().lower().replace("_", "-").split("-")[0]
    for language in LANGUAGES:
        if main == language:
            return language
    return None


def _weight(part: str) -> float:
    for option in part.split(";")[1:]:
        name, _, number = option.strip().partition("=")
        if name == "q":
            try:
                return float(number)
            except ValueError:
                return 0.0
    return 1.0


def choose(query: str | None, cookie: str | None, accept: str | None) -> Language:
    """Returns the language to answer in: asked for in the address, remembered, or accepted by the browser."""
    asked = known(query) or known(cookie)
    if asked is not None:
        return asked
    parts = [part for part in (accept or "").split(",") if part.strip()]
    for part in sorted(parts, key=_weight, reverse=True):
        found = known(part.split(";")[0])
        if found is not None and _weight(part) > 0:
            return found
    return DEFAULT


def mark(text: str) -> str:
    """Marks a text for translation where it stands in a table; returns it unchanged."""
    return text


@cache
def translations(language: Language) -> gettext.NullTranslations:
    """Returns the words of a language.

    Raises:
        OSError: the file with the words is not readable.
    """
    if language == "en":
        return gettext.NullTranslations()
    with (LOCALE / language / "LC_MESSAGES" / "collector.po").open("rb") as source:
        catalogue = read_po(source, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def say(language: Language, text: str, **values: object) -> str:
    """Returns a source text in a language, with its ``%(name)s`` places filled."""
    said = translations(language).gettext(text)
    return said % values if values else said


def pick(language: Language, en: str, zh: str) -> str:
    """Returns the name in the reader's language, or the other one where that is empty."""
    return (zh or en) if language == "zh" else (en or zh)
