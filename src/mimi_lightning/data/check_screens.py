"""The findings of `data check` for people: one screen a dataset."""

from __future__ import annotations

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mimi_lightning.data.check import Finding, Report

NAMED_GROUPS = 3  # groups of duplicates, and pictures that cannot be read


def show(report: Report, console: Console | None = None) -> None:
    """Print the findings: every dataset that is there, then what is not there, then the verdict."""
    console = console or Console()
    present = [finding for finding in report.findings if finding.present]
    for finding in present:
        console.print(_screen(finding, report.split))
    for finding in report.findings:
        if not finding.present:
            console.print(f"[dim]{finding.dataset}: not there ({finding.folder}, from {finding.url})[/dim]")
    for said in report.near:
        console.print(Text(f"? {said}", style="yellow"))
    for problem in report.problems:
        console.print(Text(f"✗ {problem}", style="bold red"))
    if report.ok:
        console.print(f"[bold green]✓ {len(present)} datasets, nothing to mend.[/bold green]")
    else:
        number = len(report.problems) + sum(len(finding.problems) for finding in report.findings)
        console.print(f"[bold red]✗ {number} problem{'s' * (number > 1)}.[/bold red]")


def _screen(finding: Finding, split: int) -> Panel:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, value in _facts(finding, split):
        facts.add_row(name, value)
    notes = [Text(note, style="yellow") for note in finding.notes]
    problems = [Text(f"✗ {problem}", style="bold red") for problem in finding.problems]
    title = f"[bold]{finding.dataset}[/bold]  {finding.folder}"
    return Panel(
        Group(facts, *notes, *problems),
        title=title,
        title_align="left",
        border_style="red" if problems else "green",
        width=100,
    )


def _facts(finding: Finding, split: int) -> list[tuple[str, str]]:
    if not finding.images:
        return []
    of = f" of {finding.published:,} published" if finding.published not in (None, finding.images) else ""
    broken = f", [red]{len(finding.unreadable):,} unreadable[/red]" if finding.unreadable else ", all readable"
    same = "; ".join(" = ".join(group) for group in finding.duplicates[:NAMED_GROUPS])
    more = f" and {len(finding.duplicates) - NAMED_GROUPS:,} more" if len(finding.duplicates) > NAMED_GROUPS else ""
    low, high = finding.labels
    facts = [
        ("images", f"{finding.images:,}{of}{broken}"),
        ("duplicates", f"{len(finding.duplicates):,}: {same}{more}" if same else "none"),
        ("MOS", f"{low:g} to {high:g}, published {finding.range[0]:g} to {finding.range[1]:g}"),
        ("direction", finding.direction or "not known: no levels of distortion, no lists"),
        ("references", f"{finding.references:,}"),
        ("labels", f"distortion {finding.distortions:.0%}, scenes {finding.scenes:.0%} of the images"),
    ]
    if finding.parts:
        sizes = " + ".join(f"{number:,} {part}" for part, number in finding.parts.items())
        left_out = f", [yellow]{finding.left_out:,} in no part[/yellow]" if finding.left_out else ""
        facts.append((f"split {split}", f"{sizes}{left_out} ({finding.source}), no leak in any split"))
    return facts
