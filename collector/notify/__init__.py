"""Notification: tells people outside the room of alarms that page, until somebody acknowledges them.

    decisions, alarms, what was told -> plan (pure) -> record that it is tried -> send -> record the answer

``plan`` decides what is told when, ``words`` says it, ``log`` keeps every attempt, ``notifier`` acts, and
``apprise_channel`` is the one file that knows the library which reaches DingTalk, WeCom, Feishu, mail and webhooks.
It reads what the collector has decided and kept; it decides nothing about an alarm itself.
"""
