"""What is compiled reads no attribute that a call may have set to None since it was looked at.

mypy goes on believing what an assignment, a check or an assertion said of `self.x`, whatever is
called after it. An interpreter does not care; mypyc casts the read to what is believed, and raises
TypeError. So the value is kept in a variable, or the attribute is looked at anew.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())
for part in ("tool", "hatch", "build", "targets", "wheel", "hooks", "custom"):
    HOOK = HOOK[part]
COMPILED = sorted({path for glob in HOOK["compiled"] for path in ROOT.glob(glob)})
INNOCENT = {
    "abs", "bool", "bytes", "cast", "float", "int", "isinstance", "len", "list", "max",
    "memoryview", "min", "range", "tuple", "type",
}  # fmt: skip
"""Called, they run no code of ours."""

NONE, VALUE = "none", "value"
Known = dict[str, tuple[str, bool]]
"""By chain (`self.x`): what is believed of it, and whether a call came after that."""


def may_be_none(annotation: ast.AST) -> bool:
    if isinstance(annotation, ast.BinOp):
        return may_be_none(annotation.left) or may_be_none(annotation.right)
    return isinstance(annotation, ast.Constant) and annotation.value is None


def declared(tree: ast.AST, *, optional: bool) -> set[str]:
    """Attributes that are declared to be None at times, or to be never."""
    return {
        node.target.attr if isinstance(node.target, ast.Attribute) else node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Attribute | ast.Name)
        and may_be_none(node.annotation) == optional
    }


def never_none(name: str, classes: Mapping[str, ast.ClassDef]) -> set[str]:
    """What a class declares to be never None, itself or by its bases."""
    if name not in classes:
        return set()
    bases = [getattr(base, "value", base) for base in classes[name].bases]
    inherited = (never_none(getattr(base, "id", ""), classes) for base in bases)
    return declared(classes[name], optional=False).union(*inherited)


def chain_of(node: ast.AST) -> str:
    """`a.b.c` for attributes of a name; else empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := chain_of(node.value)):
        return f"{base}.{node.attr}"
    return ""


def join(one: Known | None, other: Known | None) -> Known | None:
    """What is believed where two ways meet; None: a way that is not gone."""
    if one is None or other is None:
        return other if one is None else one
    return {
        chain: (belief, is_stale or other[chain][1])
        for chain, (belief, is_stale) in one.items()
        if chain in other and other[chain][0] == belief
    }


class Function:
    """Walks through one function as it would run; `found` are the reads that may be cast wrong."""

    def __init__(self, optional: set[str], own: set[str]) -> None:
        self.optional = optional
        """By name: of objects of any class."""
        self.own = own
        """Of `self`."""
        self.found: set[tuple[int, str]] = set()

    def is_watched(self, chain: str) -> bool:
        base, _, name = chain.rpartition(".")
        return name in (self.own if base == "self" else self.optional) and bool(base)

    def read(self, node: ast.AST, known: Known) -> None:
        """An expression: reads in it, and calls."""
        if isinstance(node, ast.Lambda):
            return
        if isinstance(node, ast.BoolOp):
            ways: Known | None = None
            state = dict(known)
            for value in node.values:
                self.read(value, state)
                ways = join(ways, dict(state))
                self.believe(value, state, truth=isinstance(node.op, ast.And))
            known.clear()
            known.update(ways or {})
            return
        if isinstance(node, ast.IfExp):
            self.read(node.test, known)
            ways = None
            for branch in (node.body, node.orelse):
                state = dict(known)
                self.believe(node.test, state, truth=branch is node.body)
                self.read(branch, state)
                ways = join(ways, state)
            known.clear()
            known.update(ways or {})
            return
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            chain = chain_of(node)
            if chain in known and known[chain][1]:
                self.found.add((node.lineno, chain))
        for child in ast.iter_child_nodes(node):
            self.read(child, known)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") not in INNOCENT:
            for chain, (belief, _) in known.items():
                known[chain] = belief, True

    def believe(self, test: ast.AST, known: Known, *, truth: bool) -> None:
        """What holds of attributes where a condition came out so."""
        if isinstance(test, ast.BoolOp):
            for value in test.values if isinstance(test.op, ast.And) is truth else ():
                self.believe(value, known, truth=truth)
            return
        if isinstance(test, ast.UnaryOp):
            self.believe(test.operand, known, truth=not truth)
            return
        looked_at: ast.AST = test
        if isinstance(test, ast.Compare):
            looked_at, other = test.left, test.comparators[0]
            if may_be_none(other):
                truth = truth is isinstance(test.ops[0], ast.IsNot | ast.NotEq)
        elif isinstance(test, ast.Call) and getattr(test.func, "id", "") == "isinstance":
            looked_at = test.args[0]
        chain = chain_of(looked_at)
        if self.is_watched(chain):
            known[chain] = (VALUE if truth else NONE), False

    def assign(self, target: ast.AST, value: ast.AST | None, known: Known) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            is_same = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
            values = value.elts if is_same else [None] * len(target.elts)
            for pair in zip(target.elts, values, strict=True):
                self.assign(*pair, known)
        elif chain := chain_of(target):
            for other in [name for name in known if f"{name}.".startswith(f"{chain}.")]:
                del known[other]
            if self.is_watched(chain):
                belief = NONE if value is not None and may_be_none(value) else VALUE
                known[chain] = belief, False

    def run(self, body: Sequence[ast.stmt], known: Known | None) -> Known | None:
        """A block; None when it does not go on behind it."""
        for statement in body:
            if known is None:
                return None
            known = self.step(statement, known)
        return known

    def step(self, node: ast.stmt, known: Known) -> Known | None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return known
            case ast.If():
                self.read(node.test, known)
                body, orelse = dict(known), dict(known)
                self.believe(node.test, body, truth=True)
                self.believe(node.test, orelse, truth=False)
                return join(self.run(node.body, body), self.run(node.orelse, orelse))
            case ast.While() | ast.For() | ast.AsyncFor():
                return self.loop(node, known)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self.read(item.context_expr, known)
                return self.run(node.body, known)
            case ast.Try():
                ways = self.run([*node.body, *node.orelse], dict(known))
                for handler in node.handlers:
                    ways = join(ways, self.run(handler.body, {}))
                return self.run(node.finalbody, {} if ways is None else ways)
            case ast.Match():
                self.read(node.subject, known)
                ways = dict(known)
                for case in node.cases:
                    ways = join(ways, self.run(case.body, dict(known)))
                return ways
            case ast.Assert():
                self.read(node.test, known)
                self.believe(node.test, known, truth=True)
                return known
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self.read(node, known)
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self.assign(target, node.value, known)
                return known
        self.read(node, known)
        is_end = isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break)
        return None if is_end else known

    def loop(self, node: ast.While | ast.For | ast.AsyncFor, known: Known) -> Known | None:
        """Twice through: what was believed at its end is, at its begin."""
        head = node.test if isinstance(node, ast.While) else node.iter
        for _ in range(2):
            self.read(head, known)
            state = dict(known)
            if isinstance(node, ast.While):
                self.believe(head, state, truth=True)
            else:
                self.assign(node.target, None, state)
            known = join(known, self.run(node.body, state)) or {}
        return self.run(node.orelse, known)


def stale_reads(
    tree: ast.AST, optional: set[str], classes: Mapping[str, ast.ClassDef]
) -> list[str]:
    owners = {
        node: never_none(owner.name, classes)
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
    }
    found: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = Function(optional, optional - owners.get(node, set()))
            function.run(node.body, {})
            found |= function.found
    return [f"{chain} in line {line}" for line, chain in sorted(found)]


def test_no_compiled_function_reads_what_a_call_may_have_set_to_none() -> None:
    trees = {path: ast.parse(path.read_text()) for path in COMPILED}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    optional = set().union(*(declared(tree, optional=True) for tree in trees.values()))
    found = {
        path.relative_to(ROOT).as_posix(): stale
        for path, tree in trees.items()
        if (stale := stale_reads(tree, optional, classes))
    }
    assert not found


@pytest.mark.parametrize(
    ("body", "is_stale"),
    [
        ("self.x = make(); self.go(); return self.x", True),
        ("assert self.x is not None; self.go(); self.x.y()", True),
        ("if self.x is None:\n  return\n self.go(); use(self.x)", True),
        ("if self.x:\n  self.go()\n  if self.x: return", True),
        ("while self.x:\n  self.go()\n  self.x.y()", True),
        ("return self.x and self.go() and self.x", True),
        ("self.x, y = y, None; self.go(); self.x", True),
        ("self.other.x = y; self.go(); self.other.x", True),
        ("x = self.x; self.go(); return x", False),
        ("self.x = make(); return self.x", False),
        ("self.go(self.x); return self.x", False),
        ("self.x = y; self.go(); self.x = None", False),
        ("assert self.x; n = len(self.x); return self.x", False),
        ("if self.x is None:\n  self.go()\n  return\n return self.x", False),
        ("if self.x is None:\n  self.go()\n return self.x", False),
        ("if self.x is None:\n  self.go()\n  return self.x", True),
        ("self.x = None; self.go(); return self.x", True),
        ("if self.x and y:\n  self.go()\n return self.x", False),
        ("self.other.x = y; self.go(); self.other = z; self.other.x", False),
    ],
)
def test_a_read_that_would_be_cast_wrong_is_found(body: str, is_stale: bool) -> None:
    tree = ast.parse(f"def method(self, y, z):\n {body}")
    assert bool(stale_reads(tree, {"x"}, {})) is is_stale
