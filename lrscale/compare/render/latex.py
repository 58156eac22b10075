"""A table for a paper: LaTeX with booktabs rules, to be taken in with ``\\input``."""

from __future__ import annotations

from collections.abc import Sequence

# What LaTeX would take for a command, and signs that its text fonts lack.
ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
        "–": "--",
        "…": r"\dots{}",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "∞": r"$\infty$",
        "✓": r"$\checkmark$",
        "‖": r"$\|$",
        "½": r"$\frac12$",
        "α": r"$\alpha$",
        "δ": r"$\delta$",
        "η": r"$\eta$",
        "λ": r"$\lambda$",
        "σ": r"$\sigma$",
        "∇": r"$\nabla$",
        "²": r"$^2$",
        "ᵀ": r"$^T$",
        "\n": " ",
    }
)


def latex(
    name: str, title: str, note: str, headers: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """A ``table`` environment with label ``tab:NAME``; needs booktabs, amssymb and graphicx.

    It is made as wide as the text at most.
    """
    body = [f"{_line(row)}\n" for row in rows]
    return (
        "% \\usepackage{booktabs,amssymb,graphicx}\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escape(title)}. {escape(note)}}}\n\\label{{tab:{name}}}\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"\\begin{{tabular}}{{{'l' * len(headers)}}}\n"
        f"\\toprule\n{_line(headers)}\n\\midrule\n{''.join(body)}\\bottomrule\n"
        "\\end{tabular}}\n\\end{table}\n"
    )


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands here."""
    return text.translate(ESCAPES)


def _line(row: Sequence[str]) -> str:
    # Braces around a first "[", or \\ would take it for its own argument.
    cells = [f"{{{cell}}}" if cell.startswith("[") else cell for cell in map(escape, row)]
    return " & ".join(cells) + r" \\"
