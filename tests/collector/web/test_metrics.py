"""The Prometheus text."""

from __future__ import annotations

from collector.views import AlarmCounts
from collector.web.metrics import metrics_text
from tests.collector.web.fake_city import FakeCity

NO_ALARMS = AlarmCounts(standing=(), unacknowledged=0, to_review=0)


def test_counters_and_states() -> None:
    city = FakeCity()
    text = metrics_text(city.counters(), city.gateway_views, city.alarm_counts(), version='1"x\\y\nz', up_s=2.5)
    lines = text.splitlines()
    assert 'qianshao_build_info{version="1\\"x\\\\y\\nz"} 1' in lines
    assert "# TYPE qianshao_batches_total counter" in lines
    assert "qianshao_readings_total 48160" in lines
    assert "# TYPE qianshao_queue_depth gauge" in lines
    assert "qianshao_queue_depth 0" in lines
    assert 'qianshao_gateways{liveness="silent"} 1' in lines
    assert 'qianshao_alarms_standing{severity="red"} 1' in lines
    assert 'qianshao_alarms_standing{severity="blue"} 0' in lines
    assert {"qianshao_alarms_unacknowledged 2", "qianshao_alarms_to_review 1"} <= set(lines)
    assert 'qianshao_gateway_backlog_batches{gateway="g-mnopqrstuvwx"} 37' in lines
    assert text.endswith("\n")
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(
        {line for line in lines if line.startswith("# TYPE")}
    )


def test_no_gateway_gives_no_empty_family() -> None:
    text = metrics_text({}, [], NO_ALARMS, version="1", up_s=0)
    assert "gateway_backlog" not in text
    assert "qianshao_up_seconds 0" in text
