"""The files that GitHub reads are what it can read, by its own schemas; no host is asked."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
SCHEMAS = {
    "github-workflows": sorted(GITHUB.glob("workflows/*.yml")),
    "github-issue-forms": sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")),
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "dependabot": [GITHUB / "dependabot.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}
WORKFLOWS = SCHEMAS["github-workflows"]


def check(schema: str, *files: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    return subprocess.run([*command, *map(str, files)], capture_output=True, text=True)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_file_fits_its_schema(schema):
    assert SCHEMAS[schema]
    done = check(schema, *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_word_that_no_workflow_has_is_rejected(tmp_path):
    (tmp_path / "bad.yml").write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    assert check("github-workflows", tmp_path / "bad.yml").returncode != 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_says_what_it_may_do_and_takes_actions_of_a_version(path):
    workflow = yaml.safe_load(path.read_text())
    assert set((workflow["permissions"] or {}).values()) <= {"read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert "uses" not in step or step["uses"].startswith("actions/")
            assert "uses" not in step or step["uses"].partition("@")[2].startswith("v")
            assert "${{" not in step.get("run", ""), "a value in a script can be code: use env"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_that_publishes_knows_both_addresses(path):
    workflow = yaml.safe_load(path.read_text())
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if re.search(r"^make .*\b(book|release)\b", step.get("run", ""), re.M):
                known = job.get("env", {}) | step.get("env", {})
                if "write" in job.get("permissions", {}).values():
                    assert "vars.ZEROCAM_SITE" in known["ZEROCAM_SITE"]
                    assert "github.repository" in known["ZEROCAM_REPOSITORY"]


def test_nothing_is_released_before_every_test_has_passed():
    jobs = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text())["jobs"]
    runs = [step.get("run", "") for step in jobs["release"]["steps"]]
    asked = next(i for i, run in enumerate(runs) if run.startswith("make test"))
    assert asked < next(i for i, run in enumerate(runs) if run.startswith("make release"))
    assert asked < next(i for i, run in enumerate(runs) if "gh release create" in run)


def test_every_target_that_a_workflow_makes_is_in_the_makefile():
    made = (ROOT / "Makefile").read_text()
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                for line in step.get("run", "").splitlines():
                    if line.startswith("make "):
                        targets = [word for word in line.split()[1:] if "=" not in word]
                        assert all(f"\n{target}:" in made for target in targets), line
