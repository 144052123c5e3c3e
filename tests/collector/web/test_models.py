"""The API's models are the views, field for field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from collector import views
from collector.web import models
from tests.collector.web.fake_city import FakeCity


@pytest.mark.parametrize(
    ("view", "model"),
    [
        (views.GatewayView, models.Gateway),
        (views.PointView, models.Point),
        (views.AlarmView, models.Alarm),
        (views.ChainView, models.Chain),
        (views.AlarmPage, models.AlarmPage),
        (views.AlarmCounts, models.AlarmCounts),
        (views.StatementView, models.Statement),
        (views.Trend, models.TrendColumns),
        (views.QuarantineView, models.Quarantined),
        (views.CompletenessView, models.Completeness),
    ],
)
def test_every_field_of_a_view_is_answered(view: Any, model: type[BaseModel]) -> None:
    assert [field.name for field in fields(view)] == list(model.model_fields)


def test_tuples_get_names() -> None:
    city = FakeCity()
    point = models.Point.model_validate(city.points()[0])
    assert point.limits[0].severity == "blue"
    old = models.Chain.model_validate(city.chains()[2])
    assert (old.lost[0].first, old.lost[0].cause, old.refused[0].code) == (101, "disk_full", "payload")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"by": ""},
        {"by": "   "},
        {"by": "x" * 65},
        {"by": "x", "note": "n" * 501},
        {"by": "x", "clear": True},
        {"by": 1},
    ],
)
def test_acknowledgements_that_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        models.Acknowledgement.model_validate(content)


def test_a_name_is_trimmed() -> None:
    assert models.Acknowledgement.model_validate({"by": " 李明 "}).by == "李明"


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("王芳", True),
        ("O'Brien <b>", True),
        ("a\x00b", False),
        ("a\nb", False),
        ("\u202eabc", False),
        ("\ud800", False),
    ],
)
def test_names_show_what_they_are(text: str, is_right: bool) -> None:
    assert models.is_readable(text) is is_right
