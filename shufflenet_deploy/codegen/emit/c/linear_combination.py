"""Matrix-vector products with constant small matrices; factors of one and zero cost nothing.

Winograd matrices come from interpolation points and their negatives, so rows or columns of a pair
differ only in signs: their common part is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.unit import float_literal
from shufflenet_deploy.codegen.schedule.winograd import Matrix

#: Factors and the vectors that they are of.
Terms = list[tuple[Fraction, str]]


def emit_matvec(code: CWriter, matrix: Matrix, n: int) -> list[str]:
    """Expressions for ``matrix`` times the vectors ``a0``, ``a1``, ...

    The common subexpression of the rows of a point and its negative is computed once.
    """
    names = [f"a{at}" for at in range(len(matrix[0]))]
    found, row = [], 0
    while row < len(matrix):
        after = matrix[row + 1] if row + 1 < len(matrix) else None
        if after is not None and _differ_in_signs(matrix[row], after):
            same = [
                (c, a) for c, d, a in zip(matrix[row], after, names, strict=True) if c == d != 0
            ]
            other = [(c, a) for c, d, a in zip(matrix[row], after, names, strict=True) if c != d]
            code(f"const v{n} s{row} = {sum_expr(same)}, d{row} = {sum_expr(other)};")
            found += [f"s{row} + d{row}", f"s{row} - d{row}"]
            row += 2
        else:
            found.append(sum_expr([(c, a) for c, a in zip(matrix[row], names, strict=True) if c]))
            row += 1
    return found


def _differ_in_signs(one: Sequence[Fraction], two: Sequence[Fraction]) -> bool:
    """True if two rows are equal up to some signs, but not equal."""
    same = all(abs(a) == abs(b) for a, b in zip(one, two, strict=True))
    differing = sum(a != b for a, b in zip(one, two, strict=True))
    return same and differing > 0


def column_pairs(matrix: Matrix) -> list[tuple[int, ...]]:
    """Group the columns of a point and its negative."""
    columns = list(zip(*matrix, strict=True))
    found: list[tuple[int, ...]] = []
    at = 0
    while at < len(columns):
        paired = at + 1 < len(columns) and _differ_in_signs(columns[at], columns[at + 1])
        found.append((at, at + 1) if paired else (at,))
        at += len(found[-1])
    return found


def column_terms(
    code: CWriter,
    matrix: Matrix,
    columns: tuple[int, ...],
    names: Sequence[str] | Mapping[int, str],
    suffix: str,
) -> list[Terms]:
    """Terms that some columns contribute to each row; pairs are combined beforehand."""
    if len(columns) == 1:
        at = columns[0]
        return [[(row[at], names[at])] if row[at] else [] for row in matrix]
    one, two = columns
    plus, minus = f"s{one}{suffix}", f"d{one}{suffix}"
    code(f"const vf {plus} = {names[one]} + {names[two]}, {minus} = {names[one]} - {names[two]};")
    return [[(row[one], plus if row[one] == row[two] else minus)] for row in matrix]


def sum_expr(terms: Terms) -> str:
    """A C expression for a sum of products, positive terms first."""
    ordered = sorted(terms, key=lambda term: (term[0] < 0, abs(term[0]) != 1))
    text = ""
    for factor, name in ordered:
        product = (
            name if abs(factor) == 1 else f"{name} * (real){float_literal(float(abs(factor)))}"
        )
        if text:
            text += f" {'-' if factor < 0 else '+'} {product}"
        else:
            text = f"-{product}" if factor < 0 else product
    return text
