"""Views into HTML: the page, and the rows of it that the live stream sends again.

A page and a row sent later come from the same macros in ``templates/rows.html``.  In a row sent
live an age is left empty (``now_us`` None) and filled in by the browser, so that the text of a
row changes only when the thing itself does.  Everything is escaped; names come from the edge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from collector.completeness_line import day_line
from collector.errands import DUE_DAYS
from collector.views import (
    AlarmCounts,
    AlarmView,
    ChainView,
    CompletenessView,
    GatewayView,
    LetterView,
    PointView,
    StatementView,
    Trend,
    TrialView,
)
from collector.web import arrange, plot, words
from collector.web.language import HTML_LANG, LANGUAGES, Language, pick, say, translations
from collector.web.ports import Info
from contracts.quality import CODES
from contracts.quantities import QUANTITIES
from contracts.units import UNITS

TEMPLATES = Path(__file__).resolve().parent / "templates"


#: points of each state that the page of trials lists; the API lists all
TRIAL_SHOWN = 500


def _number(value: float | None) -> str:
    """Returns a number for a data attribute; empty for none, so that none is never zero."""
    return "" if value is None else repr(value)


def heard_us(view: GatewayView, now_us: int) -> int | str:
    """Returns when a gateway was last heard, to the second so that equal views give equal rows; empty for never."""
    if view.silent_for_s is None:
        return ""
    return round(now_us / 1_000_000 - view.silent_for_s) * 1_000_000


class Renderer:
    """Writes HTML in one language and one time zone."""

    def __init__(
        self,
        language: Language,
        *,
        zone: tzinfo | None,
        info: Info,
        has_chart: bool,
        counts: Callable[[], AlarmCounts] | None = None,
    ) -> None:
        """Prepares the templates.

        Args:
            language: of every word that is ours, and of names that come in both.
            zone: of every time that is shown; None is the zone of this machine.
            info: facts for the foot of the page.
            has_chart: whether the chart library has been fetched.
            counts: what the head of every page says of points on trial; None: nothing.
        """
        self.language = language
        self._zone = zone
        env = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        env.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
        env.filters["num"] = words.number_words
        env.filters["attr"] = _number
        env.filters["delay"] = lambda ms: words.delay_words(language, ms)
        env.filters["date"] = lambda us: words.date_words(us, zone)
        env.filters["day"] = lambda us: words.day_words(us, zone)
        env.filters["clock"] = lambda us: words.time_words(us, zone)
        env.filters["step"] = lambda us: words.step_words(us, zone)
        env.globals.update(
            language=language,
            html_lang=HTML_LANG[language],
            languages=LANGUAGES,
            pick=lambda en, zh: pick(language, en, zh),
            word=lambda table, key: words.word(language, getattr(words, table), key),
            mark_word=lambda text, is_test=False: words.mark_words(language, text, is_test),
            visit_reason=lambda text: words.visit_reason_words(language, text),
            shape=lambda severity: words.SEVERITY_SHAPE.get(severity, "○"),
            quantity=self._quantity,
            age=self._age,
            heard_us=heard_us,
            silence=lambda view: words.age_words(language, view.silent_for_s or 0.0),
            point_id=arrange.point_id,
            short_name=lambda view: arrange.short_name(
                pick(language, view.en, view.zh) or view.key, pick(language, view.device_en, view.device_zh)
            ),
            alarm_order=arrange.alarm_order,
            spans=words.SPANS,
            counts_now=counts if counts is not None else lambda: None,
            info=info,
            has_chart=has_chart,
            page_words=Markup(_for_script(page_words(language))),
        )
        self._env = env
        # StrictUndefined makes a misspelt name an error here, not an empty place on a page.
        self._rows = cast(Any, env.get_template("rows.html").module)
        self._point: Callable[..., str] = self._rows.point

    def _quantity(self, key: str) -> str:
        known = QUANTITIES.get(key)
        return key if known is None else pick(self.language, known.en, known.zh)

    def _age(self, us: int | None, now_us: int | None) -> Markup:
        """Returns the element that shows how long ago ``us`` was and that the browser keeps counting."""
        if us is None:
            return Markup('<span class="age">–</span>')
        at = words.moment(us, self._zone)
        if at is None:
            return Markup('<span class="age">{}</span>').format(say(self.language, words.CLOCK_WRONG))
        text = "" if now_us is None else words.age_words(self.language, (now_us - us) / 1_000_000)
        exact = at.isoformat(timespec="milliseconds")
        tag = Markup('<time class="age" data-at-us="{}" datetime="{}" title="{}">{}</time>')
        return tag.format(us, exact, exact, text)

    def point(self, view: PointView, now_us: int | None = None) -> str:
        """Returns the row of a point."""
        return str(self._point(view, now_us)).strip()

    def alarm(self, view: AlarmView, now_us: int | None = None) -> str:
        """Returns the entry of an alarm with its form."""
        return str(self._rows.alarm(view, now_us)).strip()

    def gateway(self, view: GatewayView, now_us: int) -> str:
        """Returns the card of a gateway as it is sent live; ``now_us`` is when the view was made."""
        return str(self._rows.gateway(view, now_us, False)).strip()

    def proof(self, proof: arrange.Proof, now_us: int | None = None) -> str:
        """Returns the card with the chains of a gateway."""
        return str(self._rows.proof(proof, now_us)).strip()

    def summary(self, summary: arrange.Summary) -> str:
        """Returns the counts at the top."""
        return str(self._rows.summary(summary)).strip()

    def no_alarms(self, summary: arrange.Summary) -> str:
        """Returns the sentence that stands where no alarm does."""
        return str(self._rows.no_alarms(summary)).strip()

    def trouble(self, trouble: arrange.Trouble) -> str:
        """Returns what is wrong with the collector itself, hidden when nothing is."""
        return str(self._rows.trouble(trouble)).strip()

    def quarantine(self, kept: arrange.Quarantine, now_us: int | None = None) -> str:
        """Returns what arrived and was not accepted, hidden when there is nothing."""
        return str(self._rows.quarantine(kept, now_us)).strip()

    def trend_panel(self, point: PointView | None, trend: Trend | None, span_s: int, now_us: int) -> str:
        """Returns what is said around the chart; the chart itself is drawn by the browser."""
        figures = None if trend is None else arrange.trend_figures(trend)
        return str(self._rows.trend_panel(point, trend, figures, span_s, now_us)).strip()

    def page(
        self,
        *,
        gateways: Sequence[GatewayView],
        points: Sequence[PointView],
        alarms: Sequence[AlarmView],
        counts: AlarmCounts,
        chains: Sequence[ChainView],
        statements: Sequence[StatementView],
        trouble: arrange.Trouble,
        quarantine: arrange.Quarantine,
        chosen: arrange.Chosen | None,
        trend: Trend | None,
        now_us: int,
        problem: str = "",
    ) -> str:
        """Returns the whole page; ``problem`` is a word of ``words.PROBLEM``: what a form of it could not do."""
        shown = None
        if chosen is not None:
            shown = next((p for p in points if (p.gateway, p.key) == (chosen.gateway, chosen.key)), None)
        span_s = words.SPANS[0][0] if chosen is None else chosen.span_s
        summary = arrange.summarise(gateways, counts, len(alarms))
        return self._env.get_template("page.html").render(
            rows=self._rows,
            gateways=gateways,
            groups=arrange.group_points(gateways, points),
            alarms=sorted(alarms, key=arrange.alarm_order),
            proofs=arrange.group_chains([gateway.id for gateway in gateways], chains, statements),
            summary=summary,
            trouble=trouble,
            quarantine=quarantine,
            chosen=chosen,
            shown=shown,
            span_s=span_s,
            trend_html=Markup(self.trend_panel(shown, trend, span_s, now_us)),
            problem=problem if problem in words.PROBLEM else "",
            structure=arrange.structure((g.id for g in gateways), ((p.gateway, p.key) for p in points)),
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
            offset_min=words.offset_minutes(now_us, self._zone),
        )

    def journal(
        self,
        *,
        gateways: Sequence[GatewayView],
        alarms: Sequence[AlarmView],
        asked: object,
        wrong: str,
        address: Callable[..., str],
        csv: str,
        next: str | None,
        now_us: int,
        problem: str = "",
    ) -> str:
        """Returns the page of the journal; ``address`` makes that of another one, ``problem`` is as for ``page``."""
        return self._env.get_template("journal.html").render(
            rows=self._rows,
            gateways=gateways,
            alarms=alarms,
            asked=asked,
            wrong=wrong,
            address=address,
            csv=csv,
            next=None if next is None else address(after=next),
            first=address(after=None),
            is_later="after=" in address(),
            severities=tuple(words.SEVERITY),
            states=tuple(words.MEASUREMENT),
            tests=tuple(words.TESTS),
            problem=problem if problem in words.PROBLEM else "",
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
        )

    def waveforms(self, found: Sequence[object], now_us: int) -> str:
        """Returns the page of waveforms (``web.waveform_page.Shown``)."""
        return self._env.get_template("waveforms.html").render(
            waveforms=found,
            width=plot.WIDTH,
            height=plot.HEIGHT,
            unit=lambda unit: pick(self.language, UNITS[unit].en, UNITS[unit].zh) if unit in UNITS else unit,
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
        )

    def notify(
        self, rules: Sequence[object], recent: Sequence[object], tested: str, now_us: int, problem: str = ""
    ) -> str:
        """Returns the page of notification (``views.NotifyRuleView``, ``views.NoticeView``)."""
        return self._env.get_template("notify.html").render(
            rules=rules,
            recent=recent,
            tested=tested,
            problem=problem,
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
        )

    def visits(self, shown: object, now_us: int) -> str:
        """Returns the page of visits (``web.visits_page.VisitsShown``)."""
        return self._env.get_template("visits.html").render(
            rows=self._rows,
            shown=shown,
            jobs=tuple(words.JOB),
            results=tuple(words.VISIT_RESULT),
            due_days=DUE_DAYS,
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
        )

    def trial(
        self,
        points: Sequence[TrialView],
        letters: Sequence[LetterView],
        now_us: int,
        *,
        has_file: Callable[[str], bool],
        attached: str = "",
        wrong: str = "",
        why: str = "",
    ) -> str:
        """Returns the page of what is on trial.

        Args:
            points: with how their limits stand.
            letters: named or attached.
            now_us: UTC.
            has_file: whether the file of an attached letter is still here.
            attached: SHA-256 of the letter just kept; said only of one that is here.
            wrong: why none was kept.
            why: the same as a word of ``words.LETTER_WHY``, where there is one.
        """
        by_state = {state: [view for view in points if view.state == state] for state in words.TRIAL_STATE}
        return self._env.get_template("trial.html").render(
            rows=self._rows,
            by_state=by_state,
            shown=TRIAL_SHOWN,
            letters=letters,
            gone=[
                letter.digest for letter in letters if letter.attached_us is not None and not has_file(letter.digest)
            ],
            attached=attached if has_file(attached) else "",
            wrong=wrong,
            why=why,
            unit=lambda unit: pick(self.language, UNITS[unit].en, UNITS[unit].zh) if unit in UNITS else unit,
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
        )

    def problem(self, meaning: str, detail: str, back: str, now_us: int) -> str:
        """Returns a page that says that something was not done, and leads to ``back``; it reads no table."""
        return self._env.get_template("problem.html").render(
            meaning=meaning,
            detail=detail,
            back=back,
            counts_now=lambda: None,
            now_us=now_us,
            offset=words.offset_words(now_us, self._zone),
        )

    def day_line(self, gateway: str, views: Sequence[CompletenessView], start_us: int) -> str:
        """Returns the completeness of a gateway since the beginning of its day, as an element of its card."""
        line = day_line(views, self.language)
        return str(self._rows.day_line(gateway, line, start_us)).strip()


def page_words(language: Language) -> dict[str, Any]:
    """Returns the words that the browser itself needs: ages, quality reasons, and the chart's few."""
    return {
        "seconds": say(language, words.SECONDS),
        "minutes": say(language, words.MINUTES),
        "hours": say(language, words.HOURS),
        "days": say(language, words.DAYS),
        "clock_wrong": say(language, words.CLOCK_WRONG),
        "time": say(language, "time"),
        "value": say(language, "value"),
        "mean": say(language, "mean of the minute"),
        "lowest": say(language, "lowest"),
        "highest": say(language, "highest"),
        "limit": say(language, "limit"),
        "failed": say(language, "It was not recorded. Try again."),
        "no_day": say(language, "It could not be read."),
        "no_trend": say(language, "The trend could not be read."),
        "codes": {str(code.code): pick(language, code.en, code.zh) for code in CODES.values()},
    }


def _for_script(content: dict[str, Any]) -> str:
    """Returns JSON that can stand in a script element: no character there can end it."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
