"""The operators between values as SQL. Where reckoning leads out of a type's range the result is null."""

from __future__ import annotations

from collections.abc import Sequence

from collectord.query.conversions import alike, numeric, text
from collectord.query.sql import Fault, Parameters, Sql
from collectord.query.syntax import TypeName

ARITHMETIC = ("+", "-", "*", "/", "%")
ORDERING = ("<", "<=", ">", ">=")
EQUALITY = ("==", "!=")


def binary(parameters: Parameters, at: int, operator: str, left: Sql, right: Sql) -> Sql:
    """Any of them. `at`: its place."""
    if operator in ARITHMETIC:
        return arithmetic(at, operator, left, right)
    if operator in ORDERING or operator in EQUALITY:
        return compare(at, operator, left, right)
    return _match(parameters, at, operator, left, right)


def compare(at: int, operator: str, left: Sql, right: Sql) -> Sql:
    a, b = alike(at, operator, left, right)
    if operator in ORDERING:
        if a.type == "bool":
            raise Fault(at, "a bool is neither more nor less than another one")
        # Of DuckDB a NaN is more than all else; in Kusto it is neither more nor less.
        more = a if operator in (">", ">=") else b
        number = f" AND NOT isnan({more.text})" if _may_be_nan(more) else ""
        return Sql(f"({a.text} {operator} {b.text}{number})", "bool", at)
    # One null and a value are unequal; two nulls are neither equal nor unequal.
    equal = operator == "=="
    distinct, plain, word = ("IS NOT DISTINCT FROM", "=", "AND") if equal else ("IS DISTINCT FROM", "<>", "OR")
    if a.type == "string":
        return Sql(f"({a.text} {plain} {b.text})", "bool", at)
    if left.value is not None or right.value is not None:
        return Sql(f"({a.text} {distinct} {b.text})", "bool", at)
    nan = ""
    if _may_be_nan(a) and _may_be_nan(b):
        # DuckDB's equal each other.
        nan = f" AND NOT isnan({a.text})" if equal else f" OR isnan({a.text})"
    return Sql(f"(({a.text} {distinct} {b.text}) {word} ({a.text} {plain} {b.text}){nan})", "bool", at)


def _may_be_nan(given: Sql) -> bool:
    return given.type == "real" and given.value is None


def between(at: int, negated: bool, value: Sql, low: Sql, high: Sql) -> Sql:
    if value.type == "datetime" and high.type == "timespan":
        high = arithmetic(at, "+", low, high)
    first, last = compare(at, ">=", value, low), compare(at, "<=", value, high)
    return Sql(f"({'NOT ' if negated else ''}({first.text} AND {last.text}))", "bool", at)


def among(parameters: Parameters, at: int, operator: str, operand: Sql, items: Sequence[Sql]) -> Sql:
    """`in` and its like."""
    if operator in ("has_any", "has_all"):
        each = [_has(parameters, text(operand).text, item, sensitive=False) for item in items]
        return Sql("(" + (" OR " if operator == "has_any" else " AND ").join(each) + ")", "bool", at)
    negated, folded = operator.startswith("!"), operator.endswith("~")
    pairs = [alike(at, "==", operand, item) for item in items]
    if folded and {left.type for left, _ in pairs} != {"string"}:
        raise Fault(at, f"{operator} compares texts; for others write {operator[:-1]}")
    if len({left.text for left, _ in pairs}) > 1:
        raise Fault(at, "the values of the list have different types")
    left = f"lower({pairs[0][0].text})" if folded else pairs[0][0].text
    values = ", ".join(f"lower({item.text})" if folded else item.text for _, item in pairs)
    # Null is in no list.
    return Sql(f"({'NOT ' if negated else ''}coalesce({left} IN ({values}), false))", "bool", at)


def _match(parameters: Parameters, at: int, operator: str, left: Sql, right: Sql) -> Sql:
    """An operator of texts."""
    word = {"=~": "equals", "!~": "equals"}.get(operator, operator.lstrip("!"))
    sensitive = word.endswith("_cs")
    word = word.removesuffix("_cs")
    a, b = text(left).text, text(right).text
    if not sensitive:
        a, b = f"lower({a})", f"lower({b})"
    match word:
        case "has":
            found = _has(parameters, text(left).text, right, sensitive=sensitive)
        case "contains":
            found = f"contains({a}, {b})"
        case "startswith":
            found = f"starts_with({a}, {b})"
        case "endswith":
            found = f"ends_with({a}, {b})"
        case _:
            found = f"({a} = {b})"
    return Sql(f"(NOT {found})" if operator.startswith("!") else found, "bool", at)


_BEFORE, _BEHIND = r"(?:^|[^\p{L}\p{N}])", r"(?:$|[^\p{L}\p{N}])"


def _has(parameters: Parameters, searched: str, term: Sql, *, sensitive: bool) -> str:
    """Whether a text holds a term: between characters that are neither letters nor digits, or the ends."""
    flags = "'s'" if sensitive else "'si'"
    if not isinstance(term.value, str):
        return f"regexp_matches({searched}, '{_BEFORE}' || regexp_escape({text(term).text}) || '{_BEHIND}', {flags})"
    wanted = term.value
    escaped = "".join(char if char.isalnum() else f"\\x{{{ord(char):x}}}" for char in wanted)
    before, behind = _BEFORE if wanted[:1].isalnum() else "", _BEHIND if wanted[-1:].isalnum() else ""
    return f"regexp_matches({searched}, {parameters.add(before + escaped + behind)}::VARCHAR, {flags})"


# ---------------------------------------------------------------------- reckoning


def arithmetic(at: int, operator: str, left: Sql, right: Sql) -> Sql:
    kinds = left.type, right.type
    if "datetime" in kinds:
        return _time_arithmetic(at, operator, left, right)
    if operator == "+" and "string" in kinds:
        raise Fault(at, "texts are not added; strcat(…) joins them")
    a, b = numeric(left), numeric(right)
    kind = _result(at, operator, a, b)
    divisor = operator in ("/", "%")
    if kind == "real":
        # Of reals, a division by 0 is infinite; of others it is null.
        by = f"nullif({b.text}, 0)" if divisor and b.type != "real" else b.text
        return Sql(f"TRY(CAST({a.text} AS DOUBLE) {operator} {by})", "real", at)
    if "real" in (a.type, b.type):
        return Sql(f"TRY_CAST(TRY({a.text} {operator} {b.text}) AS BIGINT)", kind, at)
    sign = "//" if operator == "/" else operator
    by = f"nullif({b.text}, 0)" if divisor else b.text
    return Sql(f"TRY_CAST((CAST({a.text} AS HUGEINT) {sign} {by}) AS BIGINT)", kind, at)


def negative(at: int, operand: Sql) -> Sql:
    given = numeric(operand)
    return Sql(f"TRY(- {given.text})", given.type, at)


def _result(at: int, operator: str, a: Sql, b: Sql) -> TypeName:
    """The type of what is reckoned of numbers and timespans."""
    kinds = a.type, b.type
    if "timespan" not in kinds:
        return "real" if "real" in kinds else "long"
    if kinds == ("timespan", "timespan") and operator != "*":
        return "real" if operator == "/" else "timespan"
    if kinds != ("timespan", "timespan") and (operator == "*" or (operator == "/" and a.type == "timespan")):
        return "timespan"
    raise Fault(at, f"a {a.type} {operator} a {b.type} means nothing")


def _time_arithmetic(at: int, operator: str, left: Sql, right: Sql) -> Sql:
    if (left.type, right.type, operator) == ("datetime", "datetime", "-"):
        return Sql(f"(epoch_us({left.text}) - epoch_us({right.text}))", "timespan", at)
    if left.type == "timespan" and right.type == "datetime" and operator == "+":
        left, right = right, left
    if left.type == "datetime" and right.type == "timespan" and operator in ("+", "-"):
        moved = f"TRY_CAST((CAST(epoch_us({left.text}) AS HUGEINT) {operator} {right.text}) AS BIGINT)"
        return Sql(f"TRY(make_timestamp({moved}))", "datetime", at)
    raise Fault(
        at, f"a {left.type} {operator} a {right.type} means nothing; a timespan such as 1h is added to a datetime"
    )
