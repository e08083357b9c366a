"""Programs as people write them."""

from throughtime.programs import elman, gru
from throughtime.programs.program import Program
from throughtime.programs.text import parse


def test_a_program_prints_its_formulas():
    assert (
        str(elman(3, 4))
        == """\
elman: x of 3, s of 4

forward
  a = U x + W s + b_ih + b_hh
  s′ = tanh(a)
  y = s′

backward
  δ_ = (∂y + ∂s′) ⊙ (1 − s′²)
  ∂x = Uᵀ δ_
  ∂s = Wᵀ δ_

gradients, summed over steps and rows
  ∂U = Σ δ_ xᵀ
  ∂W = Σ δ_ sᵀ
  ∂b_ih = Σ δ_
  ∂b_hh = Σ δ_""".replace("δ_", "∂a")
    )


def test_what_binds_less_tightly_stands_in_brackets():
    text = str(gru(3, 4))
    assert "h′ = new + rz[4:8] ⊙ (h − new)" in text
    assert "∂x_a[8:12] = dh ⊙ (1 − rz[4:8]) ⊙ (1 − new²)" in text
    assert "W[0:8] h" in text


def shown(expression: str) -> str:
    program: Program = parse(f"""
        one
        inputs x[2]
        state s[2]
        matrices
        parameters
        forward
        v = {expression}
        outputs v
        next v
        upstream dy[2] dnext[2]
        backward
        gradients
    """)
    return next(line.split(" = ", 1)[1] for line in str(program).splitlines() if line.startswith("  s′"))


def test_operations():
    assert shown("x - (s - x)") == "x − (s − x)"
    assert shown("(x - s) - x") == "x − s − x"
    assert shown("x / (s * x)") == "x / (s ⊙ x)"
    assert shown("2.5 * x + -s") == "2.5 · x + −s"
    assert shown("where(x > 0, x, -1.0 * s)") == "where(x > 0, x, (-1) · s)"
    assert shown("reciprocal(x + s)") == "1 / (x + s)"
    assert shown("x - row_max(x)") == "x − max(x)"
