"""Reports, from folders and tables to files."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mimi_lightning.cli import main
from mimi_lightning.errors import ConfigError, ScoreError
from mimi_lightning.evaluation import figures
from mimi_lightning.evaluation.protocol import FITTED
from mimi_lightning.evaluation.report import report
from mimi_lightning.evaluation.study import Run, Study, collect
from mimi_lightning.evaluation.tables import aligned
from mimi_lightning.metrics import FITS, fitted_figures
from mimi_lightning.run_folder import RunFolder


@pytest.fixture(scope="module")
def tables(fabricate, tmp_path_factory):
    """Two models; of the second one, split 2 is missing."""
    folder = tmp_path_factory.mktemp("tables")
    files = folder / "a.csv", folder / "b.csv"
    fabricate("mix/resnet34").to_csv(files[0], index=False)
    fabricate("mix/vgg_16&more", splits=(1, 3), noise=0.3).to_csv(files[1], index=False)
    return files


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory):
    """The report of both, its folder, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("written") / "out", io.StringIO()
    with contextlib.redirect_stdout(printed):
        made = report(tables, folder)
    return made, folder, printed.getvalue()


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures empty, which take most of the time of a report."""
    for name in ("splits", "distortions", "uncertainty", "scatter", "labels", "curves", "training"):
        monkeypatch.setattr(f"mimi_lightning.evaluation.report.draw_{name}", lambda *_: Figure(figsize=(1, 1)))


def test_a_report_of_two_tables(written):
    made, out, shown = written
    assert made.notes == ["mix/vgg_16&more: no result of split 2"]
    assert "no result of split 2" in shown
    assert "\nweighted by split  ." in shown  # in one line of 80 columns
    results = pd.read_csv(out / "results.csv")
    assert len(results) == (3 + 2) * 5
    numbers = json.loads((out / "report.json").read_text())
    means = [row for row in numbers["summary"] if (row["figure"], row["dataset"]) == ("srcc", "mean")]
    best = max(means, key=lambda row: row["median"])
    assert best["model"] == "mix/resnet34"
    page = (out / "report.md").read_text()
    assert f"**{best['median']:.4f}" in page
    drawn = sorted((out / "figures").iterdir())
    assert {path.stem for path in drawn} == {
        *("distortions", "splits-srcc", "splits-plcc_4p"),
        *(f"{kind}-mix-{model}" for kind in ("scatter", "labels") for model in ("resnet34", "vgg_16&more")),
    }
    for path in drawn:
        if path.suffix == ".png":
            assert min(Image.open(path).size) > 200
    assert (out / "report.html").is_file()
    assert not (out / "uncertainty.csv").exists()
    assert "uncertainty" not in numbers
    assert "eviations" not in page


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_the_same_each_time(tables, written, tmp_path):
    report(tables, tmp_path)
    for name in ("results.csv", "report.json", "report.md", "report.tex", "report.html", "breakdown.csv"):
        assert (tmp_path / name).read_bytes() == (written[1] / name).read_bytes()


def test_a_report_that_is_broken_off_leaves_the_one_before(fabricate, tmp_path, monkeypatch):
    def break_off(report):
        raise OSError("disk full")

    monkeypatch.setattr("mimi_lightning.evaluation.report.draw_report", break_off)
    fabricate(splits=[1], datasets=["live"]).to_csv(tmp_path / "a.csv", index=False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.csv").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        report([tmp_path / "a.csv"], out)
    assert [path.read_text() for path in out.iterdir()] == ["old"]


@pytest.mark.parametrize("words", [["--help"], ["a.csv", "--fits", "published"]])
def test_a_report_loads_no_network(fabricate, tmp_path, words):
    fabricate(splits=[2], datasets=["live"]).to_csv(tmp_path / "a.csv", index=False)
    code = (
        f"import sys; sys.argv = {['mimi', 'report', *words]}; from mimi_lightning.__main__ import main\n"
        "try: print('exit', main())\nexcept SystemExit as end: print('exit', end.code)\n"
        "print(sorted({'torch', 'torchvision', 'torchmetrics', 'lightning', 'open_clip', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["exit 0", "[]"], done.stderr


def test_latex_is_balanced_and_escaped(written):
    text = (written[1] / "report.tex").read_text()
    assert r"mix/vgg\_16\&more" in text
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular"] * 2
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"] * 2
    assert text.count("{") == text.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}
    assert text.count(r"\textbf{") >= 10


@pytest.mark.usefixtures("undrawn")
def test_stated_deviations_are_judged_where_there_are_some(fabricate, tmp_path, capsys, monkeypatch):
    """Of one of two models, and of half of its images."""
    monkeypatch.setattr("mimi_lightning.evaluation.report.draw_uncertainty", figures.draw_uncertainty)
    words = {"splits": [1, 2], "datasets": ["csiq", "live"]}
    stated = fabricate("mix/states_50%", **words)
    stated["std"] = (stated["prediction"] - stated["mos"]).abs().where(stated.index % 2 == 0)
    stated.to_csv(tmp_path / "a.csv", index=False)
    fabricate("mix/silent", **words).to_csv(tmp_path / "b.csv", index=False)
    out = tmp_path / "report"
    made = report([tmp_path / "a.csv", tmp_path / "b.csv"])
    said = "mix/states_50%: 80 of 160 test rows have no std or no prediction; coverage, NLL and AURC leave them out"
    assert made.notes == [said]
    table = pd.read_csv(out / "uncertainty.csv")
    assert table["dataset"].tolist() == ["csiq", "live", "csiq", "live", "pooled", "pooled"]
    assert table["n"].tolist() == [20] * 4 + [40] * 2
    recorded = pd.DataFrame(json.loads((out / "report.json").read_text())["uncertainty"])
    pd.testing.assert_frame_equal(recorded, table, check_dtype=False, rtol=1e-12)
    nll = f"{table[table['dataset'] == 'pooled']['nll'].median():.3f}".replace("0.", ".")
    row = f"| mix/states_50% | pooled | .000 | 1.000 | 1.000 | 1.000 | {nll} |"
    assert row in (out / "report.md").read_text()
    latex = (out / "report.tex").read_text()
    assert r"mix/states\_50\% & pooled & .000 &" in latex
    assert len(re.findall(r"\\label\{tab:(?:calibration|ranking)\}", latex)) == 2
    assert "Calibration of stated deviations" in capsys.readouterr().out
    assert "Calibration of stated deviations" in (out / "report.html").read_text()
    assert min(Image.open(out / "figures" / "uncertainty.png").size) > 200


def test_one_dataset_one_split_and_ties(fabricate, tmp_path):
    table = fabricate(splits=[1], datasets=["live"])
    table["proxy"] = table["proxy"].round(1)
    table.drop(columns=["run", "prediction", "aligned", "distortion", "level", "image"]).to_csv(tmp_path / "a.csv")
    made = report([tmp_path / "a.csv"])
    assert not made.notes
    assert made.summary.query("figure == 'srcc' and dataset == 'mean'")["median"].item() > 0.8
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize("fits", FITS)
def test_a_report_says_its_fits_everywhere(fabricate, tmp_path, capsys, fits):
    fabricate(splits=[2], datasets=["live"]).to_csv(tmp_path / "a.csv", index=False)
    assert main(["report", str(tmp_path / "a.csv"), "--fits", fits]) == 0
    assert f"{FITTED[fits]}s" in capsys.readouterr().out
    out = tmp_path / "report"
    assert json.loads((out / "report.json").read_text())["fits"] == fits
    for name in ("report.md", "report.tex", "report.html"):
        text = (out / name).read_text()
        assert f"PLCC 4p ({FITTED[fits]})" in text
        assert FITTED[next(kind for kind in FITS if kind != fits)] not in text
    rows = pd.read_csv(tmp_path / "a.csv")
    results = pd.read_csv(out / "results.csv").set_index("dataset")
    expected = fitted_figures(rows["proxy"], rows["mos"], "5p", fits)
    assert results.loc["live", list(expected)].tolist() == pytest.approx(list(expected.values()))


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_computed_is_said(fabricate, tmp_path):
    table = fabricate(splits=[1, 2])
    table.loc[table["dataset"] == "live", "proxy"] = 0.5
    table.to_csv(tmp_path / "a.csv", index=False)
    made = report([tmp_path / "a.csv"])
    assert made.notes == ["mix/resnet34, live, splits 1, 2: every score is 0.5: a constant correlates with nothing"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.assign(proxy=0.5),
        lambda table: table.assign(mos=3.0),
        lambda table: table.iloc[:2],
        lambda table: table.iloc[:1],
        lambda table: table.assign(proxy=table["proxy"] * 1e300),
        lambda table: table.assign(proxy=table["proxy"] * 1e-300),
        lambda table: table.assign(run="a$b_{c}^$/split01", dataset="$x", image=table["dataset"] + table["image"]),
        lambda table: table.assign(run=table["run"] + "x" * 300),
    ],
    ids=["scores alike", "labels alike", "two rows", "one row", "huge", "tiny", "dollars", "long name"],
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_one_collapsed_model_does_not_cost_the_page(fabricate, tmp_path, spoil):
    spoil(fabricate(splits=[1], datasets=["live"], n=12)).to_csv(tmp_path / "a.csv", index=False)
    report([tmp_path / "a.csv"])
    assert (tmp_path / "report" / "report.html").is_file()


def test_a_collapsed_model_stands_beside_a_sound_one(fabricate, tmp_path):
    words = {"splits": [1, 2], "datasets": ["live"], "n": 12}
    sound, collapsed = fabricate("mix/sound", **words), fabricate("mix/flat", **words).assign(proxy=0.5)
    unscored = fabricate("mix/train_only", **words).assign(part="train")
    pd.concat([sound, collapsed, unscored]).to_csv(tmp_path / "a.csv", index=False)
    made = report([tmp_path / "a.csv"])
    assert made.notes[0] == "mix/train_only: no test rows"
    assert [note for note in made.notes if note.startswith("mix/flat, live, splits 1, 2: every score is 0.5")]
    assert made.summary.query("model == 'mix/sound' and figure == 'srcc'")["median"].notna().all()


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_is_told(finished, tmp_path):
    made = report([tmp_path / "outputs"])
    assert not made.notes
    names = {path.stem for path in (tmp_path / "outputs" / "report" / "figures").iterdir()}
    assert {"mappings-mix-resnet34", "training-mix-resnet34"} <= names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "{"),
        ("metrics.json", "[]"),
        ("metrics.json", '{"run": "mix/resnet34/split01"}'),
        ("config.yaml", "split: [1\n"),
        ("config.yaml", "- 1\n"),
        ("config.yaml", "split: 1\n"),
        ("predictions.csv", None),
        ("predictions.csv", "dataset,split\n"),
        ("labels.csv", None),
        ("mappings.csv", ""),
        ("mappings.csv", "a,b\n1,2\n"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_reported(finished, fabricate, tmp_path, name, content):
    fabricate("mix/sound", splits=[1], datasets=["live"]).to_csv(tmp_path / "a.csv", index=False)
    (finished / name).unlink()
    if content is not None:
        (finished / name).write_text(content)
    study = collect([tmp_path / "a.csv", tmp_path / "outputs"])
    assert study.models == ["mix/sound"]
    (said,) = study.missing
    assert str(finished) in said
    with pytest.raises(ScoreError, match=f"There is no finished run in .*\n.*{finished.name}"):
        collect([tmp_path / "outputs"])


def test_rows_without_images_that_stand_there_twice_are_refused(fabricate, tmp_path):
    table = fabricate(splits=[1]).drop(columns="image")
    pd.concat([table, table]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ScoreError, match=r"a.csv:2 has no image, in a split whose rows stand there twice"):
        collect([tmp_path / "a.csv"])
    for name in ("a.csv", "b.csv"):
        table.to_csv(tmp_path / name, index=False)
    with pytest.raises(ScoreError, match="Two of the tables hold split 1 of mix/resnet34"):
        collect([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert len(collect([tmp_path / "a.csv"]).predictions) == len(table)
    tied = table.assign(proxy=0.5, mos=table["mos"] > table["mos"].mean()).sort_values("mos").astype({"mos": int})
    tied.to_csv(tmp_path / "a.csv", index=False)  # a collapsed model and labels of few values repeat themselves, too
    assert len(collect([tmp_path / "a.csv"]).predictions) == len(table)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["--lists", "gone"], ConfigError, "needs --alignment"),
        (["--lists", "gone", "--alignment", "a.csv"], ScoreError, "no folder gone for --lists"),
        (["--images", "a.csv"], ScoreError, "no folder a.csv for --images"),
        (["--config-dir", "own"], ConfigError, r"live.yaml describes no dataset"),
    ],
)
def test_options_that_name_nothing_are_refused(fabricate, tmp_path, monkeypatch, words, error, said):
    monkeypatch.chdir(tmp_path)
    fabricate(splits=[1]).to_csv("a.csv", index=False)
    (tmp_path / "own" / "dataset").mkdir(parents=True)
    (tmp_path / "own" / "dataset" / "live.yaml").write_text("images: many\n")
    with pytest.raises(error, match=said):
        main(["report", "a.csv", *words])
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "weighted"}, "a dataset called like a row over datasets"),
        ({"run": "/split01"}, "a run without a name"),
        ({"part": "train"}, "no row is of a test part"),
    ],
)
def test_tables_that_cannot_be_told_apart_are_refused(fabricate, tmp_path, change, said):
    fabricate(splits=[1], datasets=["live"]).assign(**change).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ScoreError, match=said):
        collect([tmp_path / "a.csv"])


def test_label_baselines_stand_once_for_every_set_of_images():
    scores = ["native labels", "min-max labels", "z-score labels", "oracle line", "aligned labels", "proxy scores"]

    def told(model, split, n, own):
        figures = [0.1, 0.2, 0.3, 0.4, own, own]
        return pd.DataFrame({"model": model, "split": split, "scores": scores, "n": n, "srcc": figures})

    alignment = pd.concat([told("a", 1, 50, 0.5), told("a", 2, 50, 0.7), told("b", 1, 50, 0.8), told("b", 2, 50, 0.8)])
    few = told("c", 1, 30, 0.9)
    grid = aligned(pd.concat([alignment, few], ignore_index=True).assign(plcc=0.5, rmse=0.1, excluded=0))
    shown = [(model, name, splits, images, figure) for model, name, splits, images, figure, *_ in grid[1:]]
    assert [row[0] for row in shown] == [*["labels alone"] * 4, "a", "a", "b", "b", *["labels alone"] * 4, "c", "c"]
    assert shown[0] == ("labels alone", "native labels", "2", "50", "0.1000")
    assert shown[4] == ("a", "aligned labels", "2", "50", "0.6000")
    assert shown[8][2:4] == ("1", "30")


def test_a_dataset_that_one_split_lacks_is_said(fabricate, tmp_path):
    table = fabricate(splits=[1, 2, 4], datasets=["csiq", "live"], n=12)
    table[(table["dataset"] != "live") | (table["split"] != 2)].to_csv(tmp_path / "a.csv", index=False)
    made = report([tmp_path / "a.csv"])
    assert made.notes == ["mix/resnet34, live: no result of split 2"]
    assert made.summary.query("dataset == 'weighted'")["median"].isna().all()


def test_one_nan_refuses_the_table(fabricate, tmp_path):
    table = fabricate(splits=[1])
    table.loc[7, "proxy"] = None
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ScoreError, match=r"a.csv:9 .*img_007"):
        report([tmp_path / "a.csv"])


def test_runs_are_found_and_unfinished_ones_named(elsewhere, tmp_path, capsys):
    folder = tmp_path / "outputs" / "mimi" / "resnet18" / "split01"
    shutil.copytree(elsewhere, folder, ignore=shutil.ignore_patterns("*.ckpt"))
    left = folder.parent / "split02"
    left.mkdir()
    (left / "config.yaml").write_text("split: 2\n")
    (folder / "wandb" / "run" / "files").mkdir(parents=True)
    (folder / "wandb" / "run" / "files" / "config.yaml").write_text("no: run\n")
    made = report([tmp_path / "outputs"])
    assert made.study.models == ["mimi/resnet18"]
    assert [note for note in made.notes if "finished" in note] == [f"{left} holds a run that was not finished"]
    assert set(made.alignment["scores"]) >= {"aligned labels", "proxy scores", "min-max labels"}
    names = {path.stem for path in (tmp_path / "outputs" / "report" / "figures").iterdir()}
    assert {"mappings-mimi-resnet18", "training-mimi-resnet18", "scatter-mimi-resnet18"} <= names
    assert "report.html" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_a_report_says_where_published_settings_ran_on_other_partitions(elsewhere, finished, tmp_path, capsys):
    said = "mimi/resnet18, splits 1: published settings, generated partitions (csiq, live) instead of splits=mimi_cnn"
    made = report([elsewhere.parents[2], tmp_path / "outputs"], tmp_path / "report")
    assert [note for note in made.notes if "published" in note] == [said]
    assert said in capsys.readouterr().out
    assert said in json.loads((tmp_path / "report" / "report.json").read_text())["notes"]
    assert f"- {said}\n" in (tmp_path / "report" / "report.md").read_text()
    assert said in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("settings", "sources", "said"),
    [
        ({}, {"live": "generated-1"}, ""),  # a run of a former version
        ({"published_splits": None}, {"live": "generated-1"}, ""),
        ({"published_splits": "liqe"}, {"bid": "liqe", "live": "liqe"}, ""),
        (
            {"published_splits": "liqe"},
            {"koniq": "liqe", "spaq": "generated-1"},
            "published settings, generated partitions (spaq) instead of splits=liqe",
        ),
        (
            {"published_splits": "liqe"},
            {"bid": "generated-1", "koniq": "official", "live": "generated-1", "mine": "own"},
            "published settings, generated partitions (bid, live), official partitions (koniq), own partitions (mine) "
            "instead of splits=liqe",
        ),
        (
            {"published_splits": "mimi_cnn"},
            {"live": "liqe"},
            "published settings, liqe partitions (live) instead of splits=mimi_cnn",
        ),
    ],
)
def test_partitions_other_than_published_are_named(tmp_path, settings, sources, said):
    run = Run(RunFolder(tmp_path), "mimi/resnet34", 1, settings, {"partition": {"sources": sources}})
    assert run.departure == said


def test_splits_on_other_partitions_are_told_apart(tmp_path):
    sources = {1: "liqe", 2: "official", 4: "generated-1", 3: "generated-1"}
    folder, settings = RunFolder(tmp_path), {"published_splits": "liqe"}
    runs = [
        Run(folder, "mimi_clip", split, settings, {"partition": {"sources": {"koniq": source}}})
        for split, source in sources.items()
    ]
    assert Study(pd.DataFrame(), runs).departures == [
        "mimi_clip, splits 2: published settings, official partitions (koniq) instead of splits=liqe",
        "mimi_clip, splits 3, 4: published settings, generated partitions (koniq) instead of splits=liqe",
    ]


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ScoreError, match="There is no finished run"):
        collect([tmp_path])
    with pytest.raises(ScoreError, match=r"There is no .*gone"):
        collect([tmp_path / "gone"])


def test_datasets_of_ones_own_are_known_without_a_run(tmp_path):
    table = pd.DataFrame(
        {"dataset": "spaq", "split": 1, "mos": range(40), "proxy": range(40), "image": map(str, range(40))}
    )
    table.to_csv(tmp_path / "scores.csv", index=False)
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    text = "defaults: [base/table]\nfolder: SPAQ\nimages: 11125\n"
    (tmp_path / "mine" / "dataset" / "spaq.yaml").write_text(text)
    (tmp_path / "mine" / "dataset" / "bare.yaml").write_text("defaults: [base/table]\nfolder: bare\n")
    study = collect([tmp_path / "scores.csv"], config_dir=tmp_path / "mine")
    assert study.sizes()["spaq"] == 11125
    assert study.described["spaq"]["folder"] == "SPAQ"
    assert study.sizes()["koniq"] == 10073
    assert collect([tmp_path / "scores.csv"]).sizes()["spaq"] == 40
    with pytest.raises(ConfigError, match=r"There is no folder .*gone for --config-dir"):
        collect([tmp_path / "scores.csv"], config_dir=tmp_path / "gone")


def test_the_same_run_twice_is_an_error(tables):
    copy = tables[0].with_name("copy.csv")
    copy.write_bytes(tables[0].read_bytes())
    with pytest.raises(ScoreError, match="Two of the tables hold split 1 of mix/resnet34"):
        collect([tables[0], copy])
    assert len(collect([tables[0], tables[0]]).predictions) == 3 * 3 * 40
