"""Kinds of texts in a form that is prescribed: by a `format` of JSON schema, or by one that only descriptions name.

Said as they are written, but for days and times of day that can be found in how people say them (`grounding`). Not
here: what a form is told from (`descriptions`).
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from iterft.json_schema import FORMATS
from iterft.synth.descriptions import (
    BLANK_FULL_MOMENT,
    BLANK_MOMENT,
    CLOCK,
    FULL_CLOCK,
    LOCAL_MOMENT,
    PHONE,
    STAMP,
    STAMP_IN_MILLISECONDS,
)
from iterft.synth.values import Kind, Value, kind_of

_SPECS: Mapping[str, str] = {
    "date": "date",
    CLOCK: "clock 7 21",
    "email": "email",
    "uri": "pick https://harbor.example/news|https://uni.example/courses/12|https://corp.example/report.pdf",
    "url": "pick https://harbor.example/news|https://uni.example/courses/12|https://corp.example/report.pdf",
    "ipv4": "pick 10.0.4.17|192.168.1.40|172.16.8.3|10.12.0.9",
    "ipv6": "pick 2001:db8::17|fe80::1c2|2001:db8:4::a2|2001:db8:77::5",
    "hostname": "pick mail.harbor.example|db1.corp.example|www.uni.example",
    "duration": "pick P3D|PT45M|PT1H30M|P2W|PT20S|P1DT12H",
    **dict.fromkeys(("int32", "int64", "uint32", "uint64"), "code ####"),
    "color": "pick #3a7bd5|#ff8800|#204030|#c0ffee",
    "byte": "pick aGVsbG8h|bWFwbGVz|cmVwb3J0|c3ByaW5n",
    "regex": "pick ^[a-z]+$|^\\d{4}$|\\.csv$|^v[0-9]",
}
_ALIKE = {
    "datetime": "date-time", "idn-email": "email", "idn-hostname": "hostname", "iri": "uri",
    "uri-reference": "uri", "iri-reference": "uri", "base64": "byte",
}  # fmt: skip
_FREE = frozenset(["text", "textarea", "string", "password", "markdown", "html", "multiline", "binary"])
"""Formats that say nothing of what a text holds."""
_PARTS = {"HH:MM": "%H:%M", "SS": "%S", "YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d"}
_PHONES = ("+4930660", "+44207946", "+1415555", "+3314268", "+35121390")
_FIRST_STAMP = int(datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC).timestamp())


def is_known(form: str) -> bool:
    """Whether a `format` says what a text holds, or that it may hold anything."""
    return form in {*FORMATS, *_SPECS, *_ALIKE, *_FREE}


def kinds_of_format(form: str, schema: Mapping[str, Any]) -> Iterator[Kind]:
    """One kind at most. `form`: a `format`, a form of `descriptions`, or a day by its parts, such as DD/MM/YYYY,
    perhaps with a time of day."""
    form = _ALIKE.get(form, form)
    if form in _DRAWN:
        yield Kind(schema, _DRAWN[form])
    elif form in _SPECS:
        yield Kind(schema, kind_of(_SPECS[form]).draw)
    elif "YY" in form or "DD" in form:
        yield Kind(schema, functools.partial(_day_by_parts, form))


def stamp(random: Random, per_second: int = 1) -> int:
    """A whole quarter of an hour of 2026 and 2027 as a Unix time."""
    return (_FIRST_STAMP + 900 * random.randrange(50_000)) * per_second


def _day_by_parts(form: str, random: Random) -> Value:
    moment = datetime.datetime.fromisoformat(_moment(random).accepted[0])
    for part, sign in _PARTS.items():
        form = form.replace(part, sign)
    return _as_written(moment.strftime(form))


def _moment(random: Random) -> Value:
    day, clock = kind_of("date").draw(random), kind_of("clock 7 21").draw(random)
    moment = f"{day.accepted[0]}T{clock.accepted[0]}:00"
    return Value(f"{day.words} at {clock.words}", (moment, f"{moment}Z"))


def _zoned_moment(random: Random) -> Value:
    """RFC 3339 wants a zone, which nobody says: the usual one first."""
    value = _moment(random)
    return Value(value.words, value.accepted[::-1])


def _blank_moment(size: int, random: Random) -> Value:
    value = _moment(random)
    return Value(value.words, (value.accepted[0].replace("T", " ")[:size],))


def _full_clock(random: Random) -> Value:
    clock = f"{kind_of('clock 7 21').draw(random).accepted[0]}:00"
    return Value(clock, (clock,))


def _time(random: Random) -> Value:
    """RFC 3339 wants seconds and a zone; who says neither may get a time without."""
    clock = _full_clock(random).words
    return Value(clock, (f"{clock}Z", clock, clock[:5]))


def _uuid(random: Random) -> Value:
    digits = f"{random.getrandbits(128):032x}"
    return _as_written("-".join((digits[:8], digits[8:12], "4" + digits[13:16], "a" + digits[17:20], digits[20:])))


def _phone(random: Random) -> Value:
    return _as_written(f"{random.choice(_PHONES)}{random.randrange(10_000):04d}")


def _as_written(text: str) -> Value:
    return Value(text, (text,))


_DRAWN: Mapping[str, Callable[[Random], Value]] = {
    "date-time": _zoned_moment,
    LOCAL_MOMENT: _moment,
    BLANK_MOMENT: functools.partial(_blank_moment, 16),
    BLANK_FULL_MOMENT: functools.partial(_blank_moment, 19),
    "time": _time,
    FULL_CLOCK: _full_clock,
    "uuid": _uuid,
    PHONE: _phone,
    STAMP: lambda random: _as_written(str(stamp(random))),
    STAMP_IN_MILLISECONDS: lambda random: _as_written(str(stamp(random, 1000))),
}
