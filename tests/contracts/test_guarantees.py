"""What the documents promise is held by tests that exist."""

from __future__ import annotations

import ast
import re

from analytics_pipelines.settings import PROJECT_FOLDER

GUARANTEES = PROJECT_FOLDER / "docs" / "guarantees.md"


def test_every_guarantee_names_tests_that_exist() -> None:
    """Each row of docs/guarantees.md names at least one test function, and each is found in its file."""
    rows = [line for line in GUARANTEES.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) >= 9
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, function in named:
            tree = ast.parse((PROJECT_FOLDER / "tests" / file).read_text())
            functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert function in functions, f"{file}::{function}"


def test_every_test_says_what_it_holds() -> None:
    """Each test has a docstring: the sentence that fails with it."""
    silent = [
        f"{path.name}::{node.name}"
        for path in (PROJECT_FOLDER / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_decision_is_recorded_in_the_same_form() -> None:
    """A record has Status, Context, Decision and Consequences."""
    for path in sorted((PROJECT_FOLDER / "docs" / "decisions").glob("*.md")):
        text = path.read_text()
        for word in ("Status", "Context", "Decision", "Consequences"):
            assert re.search(rf"^(## )?{word}", text, re.MULTILINE), f"{path.name}: {word}"
