#!/usr/bin/env python3
"""Draws docs/images/leds.svg, the picture of docs/leds.md: each lamp's patterns over some seconds.

The rhythms are read from src/devices/gpio/pattern.rs, which plays them. Prints the picture.
"""

import pathlib
import re

TREE = pathlib.Path(__file__).resolve().parent.parent
RHYTHM = re.compile(r"Shape::(\w+) => &\[([0-9, ]*)\]")

RED, GREEN, AMBER, WHITE = "#d32f2f", "#2e7d32", "#ef8a00", "#90a4ae"
# Lamp, colour, what the program calls the movement, what it means; the order of the table, highest priority first.
ROWS = [
    ("mic", RED, "Steady", "muted"),
    ("mic", RED, "SlowBlink", "muted, not in a meeting"),
    ("mic", GREEN, "Steady", "live: the room is heard"),
    ("camera", RED, "Steady", "off"),
    ("camera", GREEN, "Steady", "on: the room is seen"),
    ("camera", AMBER, "Blink", "camera lost"),
    ("status", WHITE, "Fast", "identify"),
    ("status", RED, "DoubleBlink", "failed"),
    ("status", AMBER, "Blink", "reconnecting"),
    ("status", WHITE, "FastPulse", "starting"),
    ("status", AMBER, "SlowBlink", "attention: the disk takes no state"),
    ("status", GREEN, "Steady", "in a meeting with others"),
    ("status", WHITE, "SlowPulse", "ready: alone or unconfigured"),
]
SHOWN_MS = 6000
ROW, TOP, LEFT, BAR, WIDTH = 30, 44, 120, 300, 720


def rhythms():
    """Milliseconds lit and dark in turn, by movement; an empty list is steady."""
    source = (TREE / "src/devices/gpio/pattern.rs").read_text(encoding="utf-8")
    found = {name: [int(part) for part in parts.split(",") if part.strip()] for name, parts in RHYTHM.findall(source)}
    missing = {row[2] for row in ROWS} - set(found)
    if missing:
        raise SystemExit(f"src/devices/gpio/pattern.rs: no rhythm was found for {', '.join(sorted(missing))}")
    return found


def lit(rhythm):
    """When a lamp is lit within what is shown: pairs of begin and end."""
    if not rhythm:
        return [(0, SHOWN_MS)]
    spans, at, part = [], 0, 0
    while at < SHOWN_MS:
        end = min(at + rhythm[part % len(rhythm)], SHOWN_MS)
        if part % 2 == 0:
            spans.append((at, end))
        at, part = end, part + 1
    return spans


def draw():
    """The whole picture."""
    known = rhythms()
    height = TOP + ROW * len(ROWS) + 12
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">',
        "<title>The lamps and their patterns</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for second in range(SHOWN_MS // 1000 + 1):
        x = LEFT + BAR * second * 1000 // SHOWN_MS
        out.append(f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 12}" stroke="#ddd"/>')
        out.append(f'<text x="{x}" y="{TOP - 14}" text-anchor="middle" font-size="11" fill="#666">{second} s</text>')
    before = None
    for row, (lamp, colour, movement, meaning) in enumerate(ROWS):
        y = TOP + ROW * row
        if lamp != before:
            out.append(f'<text x="16" y="{y + 17}" font-weight="bold" fill="#111">{lamp}</text>')
            before = lamp
        out.append(f'<circle cx="{LEFT - 22}" cy="{y + 12}" r="8" fill="{colour}" stroke="#444"/>')
        out.append(f'<rect x="{LEFT}" y="{y + 4}" width="{BAR}" height="16" fill="#eceff1"/>')
        for begin, end in lit(known[movement]):
            x = LEFT + BAR * begin / SHOWN_MS
            out.append(f'<rect x="{x:g}" y="{y + 4}" width="{BAR * (end - begin) / SHOWN_MS:g}" height="16" fill="{colour}"/>')
        out.append(f'<text x="{LEFT + BAR + 18}" y="{y + 17}" fill="#111">{meaning}</text>')
    out.append("</svg>")
    return "\n".join(out)


print(draw())
