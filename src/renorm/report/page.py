"""The page of a run: one file that needs nothing else to be read."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from renorm.evaluate import Protocol
from renorm.report import heat, plots
from renorm.report.examples import Strip
from renorm.report.grid import accuracies, grid
from renorm.report.records import Record, Side
from renorm.report.summary import away, best, finding, points, under

STYLE = """
* { box-sizing: border-box; }
body { font: 16px/1.6 system-ui, sans-serif; color: #1e293b; background: #f8fafc; margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 4px; }
h3 { font-size: 16px; margin: 20px 0 0; }
p { margin: 0 0 12px; max-width: 75ch; }
section { background: white; border: 1px solid #e2e8f0; border-radius: 12px; padding: 24px; margin-top: 24px; }
.lead { color: #64748b; margin-bottom: 20px; }
.finding { font-size: 18px; border-left: 4px solid #2563eb; padding-left: 16px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 20px; }
.card { flex: 1 1 150px; background: white; border: 1px solid #e2e8f0; border-radius: 12px; padding: 12px 16px; }
.card b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.card span, .note, .source { color: #64748b; font-size: 14px; }
.source { font-size: 13px; margin: 12px 0 0; max-width: none; }
.source code { overflow-wrap: anywhere; }
code { font: 0.93em ui-monospace, monospace; }
pre { background: #0f172a; color: #e2e8f0; border-radius: 8px; padding: 12px 16px; overflow-x: auto; font-size: 14px; }
.facts { font-size: 14px; border-collapse: collapse; width: 100%; }
.facts th, .facts td { padding: 3px 16px 3px 0; border-bottom: 1px solid #f1f5f9; vertical-align: top; text-align: left; }
.facts th { color: #64748b; font-weight: 400; }
.facts td { overflow-wrap: anywhere; }
.facts thead th { color: inherit; font-weight: 500; }
.columns { columns: 300px 2; column-gap: 40px; }
.columns .facts tr { break-inside: avoid; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; }
.pair > *, .wide { min-width: 0; }
.strips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 16px 24px; }
.strips figure { margin: 0; }
.strips img { width: 100%; display: block; border-radius: 4px; }
.strips img.small { image-rendering: pixelated; }
.strips figcaption { font-size: 13px; }
.strips .numbers { display: flex; color: #64748b; font-size: 12px; text-align: center; }
.strips .numbers span { flex: 1; }
details summary { cursor: pointer; color: #2563eb; font-size: 14px; margin-bottom: 8px; }
@media (max-width: 760px) {
  .pair { grid-template-columns: minmax(0, 1fr); }
  main { padding: 20px 10px 40px; }
  section { padding: 16px 12px; border-radius: 8px; }
  .scroll { margin: 0 -12px; padding: 0 12px; }
  h1 { font-size: 24px; }
  .finding { font-size: 16px; }
  .heat thead th:first-child, .heat tbody th { white-space: normal; max-width: 130px; padding: 4px 4px 4px 0; }
  .heat button, .heat .flat { padding-left: 1em; text-indent: -1em; }
  .heat .flat { text-indent: 0; }
}
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<script>{plotly}</script>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{findings}
<div class="cards">{cards}</div>
{sections}
</main>
<script>{script}</script>
</body>
</html>
"""

TABLE_NOTE = (
    "One row per shift of the test images, one column per bank used at evaluation; the weights are the same in every "
    "column. clean@x is x with its statistics measured again on un-augmented training images. Accuracy in %, mean over the "
    "severities, ± half of its 95 % bootstrap interval over images. A row with an arrow opens into its severities."
)
TRADE_NOTE = (
    "One point per bank: to the right is more accurate, up is more robust. Bars are 95 % intervals over images. "
    "Open points on a dotted line are mixtures of the banks at its ends. Long bars leave the frame."
)
CURVES_NOTE = "Training views are what each branch saw, averaged over an epoch; test images are clean."
DISTANCE_NOTE = (
    "How far the second bank is from the first at each site, in standard deviations (sd) of the first: the root of the mean over "
    "channels of the squared differences of mean and standard deviation."
)
EXAMPLES_NOTE = (
    "The views that branches are trained on, of the same test images, and one image under each shift of the table, in the "
    "severities that it has."
)
DISTANCE_AXIS = "distance in sd of {}"


def page(record: Record, strips: Sequence[Strip] = (), missing: str = "", more: Sequence[str] = ()) -> str:
    """The page of one run as HTML.

    Args:
        record: The run.
        strips: Example images.
        missing: Why there are none.
        more: Further sections, as HTML.
    """
    config, found = record.config, record.results
    norm, branches = config.get("norm", ""), " and ".join(config.get("branches", []))
    lead = f"{config.get('epochs')} epochs with {norm} normalization on {branches} views, seed {config.get('seed')}"
    columns = {bank: accuracies(found, bank) for bank in found.banks}
    table, trained = source(found.protocol), f"<code>{html.escape(record.about.get('command', ''))}</code>"
    sections = [
        section("Which bank for which shift", TABLE_NOTE, heat.of_accuracies(grid(columns, found.shifts)), table)
    ]
    if points(found):
        figure = plots.trade_off({"": points(found)}, robust_axis(record))
        sections.append(section("Accuracy against robustness", TRADE_NOTE, plot(figure), table))
    curves = [plot(plots.curves(*each)) for each in plots.learned([Side(record.name, (record,))]).items()]
    trained += f", seed {config.get('seed')}"
    if curves:
        sections.append(section("Training", CURVES_NOTE, pair(curves), trained))
    if record.distances():
        sections.append(section("How far apart the banks are", DISTANCE_NOTE, _distances(record), trained))
    sections += more
    sections.append(
        section("What the images look like", EXAMPLES_NOTE if strips else "", _examples(strips, missing), table)
    )
    sections.append(section("How to get this again", "", provenance(record)))
    return whole(
        f"{config.get('model', 'model')} on {config.get('data', 'data')}",
        lead,
        [finding(found)],
        _cards(record),
        sections,
    )


def whole(title: str, lead: str, findings: Sequence[str], cards: str, sections: Sequence[str]) -> str:
    """A page of its parts, the last two of which are HTML already."""
    return TEMPLATE.format(
        title=html.escape(title),
        style=heat.STYLE + STYLE,
        plotly=get_plotlyjs(),
        lead=html.escape(lead),
        findings="".join(f'<p class="finding">{html.escape(text)}</p>' for text in findings),
        cards=cards,
        sections="\n".join(sections),
        script=heat.SCRIPT,
    )


def robust_axis(record: Record) -> str:
    """Title of the axis of accuracy elsewhere."""
    return f"mean accuracy {under(away(record.results.shifts))} in %"


def _cards(record: Record) -> str:
    found, rows = points(record.results), record.results.only()
    counted = [("images evaluated", f"{max(row.count for row in rows):,}"), ("banks x shifts", f"{len(rows):,}")]
    if found:
        clean, robust = best(found)
        counted = [
            (f"best clean accuracy: {heat.short(clean.bank)}", f"{100 * clean.clean.value:.1f} %"),
            (
                f"best {under(away(record.results.shifts))}: {heat.short(robust.bank)}",
                f"{100 * robust.robust.value:.1f} %",
            ),
            *counted,
        ]
    return cards(counted)


def cards(values: Sequence[tuple[str, str]]) -> str:
    """A few numbers in large, each with what it is."""
    return "".join(f'<div class="card"><b>{html.escape(b)}</b><span>{html.escape(a)}</span></div>' for a, b in values)


def section(title: str, note: str, body: str, below: str = "") -> str:
    """A part of the page; body and what stands below are HTML already."""
    note = f'<p class="note">{html.escape(note)}</p>' if note else ""
    below = f'<p class="source">{below}</p>' if below else ""
    return f"<section><h2>{html.escape(title)}</h2>{note}{body}{below}</section>"


def pair(parts: Sequence[str]) -> str:
    """Figures side by side where there is room."""
    return f'<div class="pair">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def plot(figure: go.Figure) -> str:
    """A figure as HTML, without the library."""
    options = {"displayModeBar": False, "responsive": True}
    return f'<div class="wide">{figure.to_html(full_html=False, include_plotlyjs=False, config=options)}</div>'


def _distances(record: Record) -> str:
    parts = []
    for (one, other), sites in record.distances().items():
        figure = plots.distances({f"{one} to {other}": sites}, DISTANCE_AXIS.format(one))
        parts.append(f"<h3>{html.escape(one)} to {html.escape(other)}</h3>{plot(figure)}")
    return "".join(parts)


def _examples(strips: Sequence[Strip], missing: str) -> str:
    if not strips:
        return f'<p class="note">{html.escape(missing)}</p>'
    parts, families = [], dict.fromkeys(strip.family for strip in strips)
    for family in families:
        figures = "".join(_figure(strip) for strip in strips if strip.family == family)
        parts.append(f"<h3>{html.escape(family or 'views')}</h3><div class='strips'>{figures}</div>")
    absent = f'<p class="note">{html.escape(missing)}</p>' if missing else ""
    return "".join(parts) + absent


def _figure(strip: Strip) -> str:
    name = html.escape(strip.name)
    numbers = "".join(f"<span>{html.escape(caption)}</span>" for caption in strip.captions)
    small = ' class="small"' if max(strip.pixels.shape[2:]) <= 64 else ""
    image = f'<img{small} src="{strip.to_uri()}" alt="{name}">'
    below = f'<div class="numbers">{numbers}</div>' if numbers else ""
    return f"<figure><figcaption>{name}</figcaption>{image}{below}</figure>"


def source(protocol: Protocol) -> str:
    """Command, seed and images of a table, as HTML."""
    if not protocol.known:
        return "The table does not say how it was made."
    images = f", {protocol.data.images:,} images of {protocol.data.name}" if protocol.data else ""
    command = protocol.command or "made from Python"
    return f"<code>{html.escape(command)}</code>, seed {protocol.seed}{html.escape(images)}"


def provenance(record: Record) -> str:
    """Commands, seeds, versions and options, as HTML."""
    about, protocol = record.about, record.results.protocol
    versions = {f"{name} version": value for name, value in about.get("versions", {}).items()}
    options = facts({**record.config, **versions})
    parts = [
        f"<h3>Training</h3><pre>{html.escape(about.get('command', ''))}</pre>",
        f'<details><summary>All options, seed {record.seed}</summary><div class="columns">{options}</div></details>',
    ]
    if protocol.known:
        parts += [f"<h3>Table</h3><pre>{html.escape(protocol.command)}</pre>", facts(made(protocol))]
    return "".join(parts)


def made(protocol: Protocol) -> dict[str, Any]:
    """How a table was made, for people."""
    sets = {"images": protocol.data} if protocol.data else {}
    sets |= {f"images of {name}": each for name, each in protocol.stored.items()}
    found = {what: f"{each.images:,} of {each.name}, hash {each.fingerprint}" for what, each in sets.items()}
    found |= {"seed": protocol.seed, "model": f"{protocol.model}, hash {protocol.weights}"}
    found |= {"input normalization": protocol.normalization}
    if protocol.rounding:
        found["corruptions"] = f"severities for {protocol.scale} pixels, rounding {protocol.rounding}"
    found |= {f"attack {name}": recipe for name, recipe in protocol.attacks.items()}
    found |= {f"bank {heat.short(name)}": recipe for name, recipe in protocol.banks.items()}
    return found | {"versions": ", ".join(f"{name} {value}" for name, value in protocol.versions.items())}


def facts(values: Mapping[str, Any]) -> str:
    """Names and values as a table."""
    lines = [f"<tr><th>{html.escape(name)}</th><td>{html.escape(readable(v))}</td></tr>" for name, v in values.items()]
    return f'<table class="facts">{"".join(lines)}</table>'


def readable(value: object) -> str:
    """A value of an option as it is typed."""
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "-" if value is None or not text else text
