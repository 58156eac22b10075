"""A table for a paper: LaTeX with booktabs rules, to be taken in with ``\\input``."""

from __future__ import annotations

import re
from collections.abc import Sequence

BROAD = 10  # columns beyond which a table lies on its side
GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi",
    "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
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
        "…": r"\dots{}",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "∞": r"$\infty$",
        "✓": r"$\checkmark$",
        "‖": r"$\|$",
        "½": r"$\frac12$",
        **{letter: f"$\\{name}$" for letter, name in GREEK.items()},
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

    It is made as wide as the text at most. One of more than ``BROAD`` columns lies on its side and
    needs rotating as well.
    """
    broad = len(headers) > BROAD
    environment, further = ("sidewaystable", ",rotating") if broad else ("table", "")
    body = [f"{_line(row)}\n" for row in rows]
    return (
        f"% \\usepackage{{booktabs,amssymb,graphicx{further}}}\n"
        f"\\begin{{{environment}}}\n\\centering\n"
        f"\\caption{{{escape(title)}. {escape(note)}}}\n\\label{{tab:{name}}}\n\\smallskip\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"\\begin{{tabular}}{{{'l' * len(headers)}}}\n"
        f"\\toprule\n{_line(headers)}\n\\midrule\n{''.join(body)}\\bottomrule\n"
        f"\\end{{tabular}}}}\n\\end{{{environment}}}\n"
    )


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands here; in numbers, true minus signs and powers of ten."""
    made = re.sub("--+", lambda dashes: "{}".join(dashes[0]), text.translate(ESCAPES))
    made = re.sub(r"(?<![\w.)}-])-(?=\.?\d)", "$-$", made)
    made = re.sub(r"(?<![\w.-])(\d[\d.]*)e([-+]?\d+)\b", _power, made)
    return made.replace("–", "--")


def _power(number: re.Match[str]) -> str:
    return rf"${number[1]}\times10^{{{int(number[2])}}}$"


def _line(row: Sequence[str]) -> str:
    # Braces around a first "[", or \\ would take it for its own argument.
    cells = [f"{{{cell}}}" if cell.startswith("[") else cell for cell in map(escape, row)]
    return " & ".join(cells) + r" \\"
