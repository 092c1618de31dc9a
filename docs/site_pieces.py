"""What the site needs beyond Sphinx: the table of errors, links to public names, and the words on type aliases."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from facewarp_async import errors
from facewarp_async.errors import FaceWarpError, Recovery

PACKAGE = "facewarp_async"
HEADINGS = ("error", "code", "means", "what to do", "ends the batch")


def error_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Return a row for each error that callers may meet, in the order of the file that defines them."""
    for cls in _errors():
        code = "" if cls.default_code is None else str(cls.default_code)
        yield cls.__name__, code, _meaning(cls), _remedy(cls), "yes" if cls.recovery is Recovery.STOP_BATCH else ""


def _errors() -> list[type[FaceWarpError]]:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, FaceWarpError)]
    return [cls for cls in classes if cls is not FaceWarpError]


def _meaning(cls: type[FaceWarpError]) -> str:
    text = _summary(cls).partition(" To do: ")[0]
    text = text.partition(": ")[2] if re.match(r"Code \d+: ", text) else text
    return text[0].upper() + text[1:]


def _remedy(cls: type[FaceWarpError]) -> str:
    """Return what the error advises, or what its docstring says is to be done, or else those of the class above it."""
    for each in cls.__mro__:
        remedy = vars(each).get("advice") or _summary(each).partition(" To do: ")[2].rstrip(".")
        if remedy:
            return remedy[0].upper() + remedy[1:]
    raise LookupError(
        f"nothing says what to do about {cls.__name__}: give it an advice, or end its summary in 'To do: …'"
    )


def _summary(cls: type) -> str:
    """Return the first paragraph of a class's own docstring."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())


class ErrorTable(SphinxDirective):
    """``{error-table}``: all errors, what they mean, and what to do."""

    def run(self) -> list[nodes.Node]:
        """Make the table, as one of Markdown that the page's own parser reads."""
        lines = [_row(HEADINGS), _row(["---"] * len(HEADINGS))]
        for name, *rest in error_rows():
            lines.append(_row([f"{{py:obj}}`~{PACKAGE}.{name}`", *(text.replace("``", "`") for text in rest)]))
        return self.parse_text_to_nodes("\n".join(lines))


class ErrorReference(SphinxDirective):
    """``{error-reference}``: the docstring of each error."""

    def run(self) -> list[nodes.Node]:
        """Have autodoc explain them."""
        entries = [f".. autoexception:: {PACKAGE}.{cls.__name__}\n   :show-inheritance:" for cls in _errors()]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *entries, "```"]))


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def link_public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Node | None:
    """Link a name by the public one, where the reference has it: annotations name the module that defines it."""
    if node.get("refdomain") != "py" or not node.get("reftarget"):
        return None
    domain = env.get_domain("py")
    *_, name = node["reftarget"].split(".")
    for module in public_modules():
        if f"{module}.{name}" in domain.objects:  # type: ignore[attr-defined]
            node["reftarget"] = f"{module}.{name}"
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", node["reftarget"], node, text)
    return None


def public_modules() -> list[str]:
    """Return the modules whose names are public."""
    return [PACKAGE, *(f"{PACKAGE}.{name}" for name in ("server", "testing", "distributed", "report"))]


def keep_colons(_app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon in the first line for the type of a property."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def tidy_signature(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Show a default function by its name, and nothing of how attrs makes an empty collection."""
    if signature is None:
        return None
    return re.sub(r"<function (\w+)>", r"\1", signature).replace("NOTHING", "..."), returns


def explain_alias(_app: Sphinx, what: str, name: str, obj: object, _options: object, lines: list[str]) -> None:
    """Take the words below a constant or an alias from the module that defines it, not from its type."""
    if what != "data":
        return
    words = next(_words_below(name.rpartition(".")[2], obj), None)
    if words is None:
        raise LookupError(f"{name} is public and has no docstring below it")
    lines[:] = words


def _words_below(name: str, obj: object) -> Iterator[list[str]]:
    for module in [name for name in sys.modules if name.startswith(PACKAGE)]:
        if getattr(sys.modules[module], name, None) is obj:
            try:
                documented = ModuleAnalyzer.for_module(module).find_attr_docs()
            except PycodeError:
                continue
            if ("", name) in documented:
                yield documented["", name]


def stay_on_the_site(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Name documents beside ``docs``, which are no pages of the site, instead of linking them."""
    source[0] = re.sub(r"\[[^\]]*\]\(\.\./([A-Z]+\.md)\)", r"`\1`", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.add_directive("error-table", ErrorTable)
    app.add_directive("error-reference", ErrorReference)
    app.add_lexer("csv", TextLexer)  # Pygments knows none, and columns need no colours
    app.connect("source-read", stay_on_the_site)
    app.connect("missing-reference", link_public_name)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("autodoc-process-docstring", explain_alias)
    app.connect("autodoc-process-signature", tidy_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
