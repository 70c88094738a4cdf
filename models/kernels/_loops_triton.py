"""The loops of both scans in Triton: one program a sample and block of nodes, the carried state in registers.

A program walks through time alone; nothing is exchanged between programs, so results do not depend on how they are
scheduled. Arithmetic is in the dtype of the states (float32 or float64) whatever the inputs are stored in. The loop is
pipelined (`STAGES` steps of loads in flight), because a step's loads do not depend on the state and its few operations
are far shorter than the way to memory.

Pointers are named as the tensors of `scan.py`; `x` is the offset of a stacked row [b, t] at this block's nodes.
"""

# Triton reads annotations itself: no `from __future__ import annotations` here
import triton
import triton.language as tl


@triton.jit
def _parts(pointer, x, N, mask, dtype: tl.constexpr):
    """Return the real and the imaginary part of a stacked row."""
    re = tl.load(pointer + x, mask=mask, other=0.0).to(dtype)
    im = tl.load(pointer + x + N, mask=mask, other=0.0).to(dtype)
    return re, im


@triton.jit
def _put(pointer, x, N, mask, re, im):
    """Store a stacked row, rounded to what the tensor holds."""
    tl.store(pointer + x, re.to(pointer.dtype.element_ty), mask=mask)
    tl.store(pointer + x + N, im.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def _expm1(x, TERMS: tl.constexpr):
    """exp(x) - 1; around 0 by its series, where the difference would cancel."""
    series = tl.zeros_like(x) + 1.0
    for k in tl.static_range(TERMS):
        series = 1.0 + series * x * (1.0 / (TERMS + 1 - k))
    return tl.where(tl.abs(x) < 0.5, x * series, tl.exp(x) - 1.0)


@triton.jit
def _rate(q, GATE: tl.constexpr, TERMS: tl.constexpr):
    """Return the update rate t, 1 - t, and dt/dq."""
    if GATE == "sigmoid":
        e = tl.exp(-tl.where(q < -80.0, -80.0, q))
        t = 1.0 / (1.0 + e)
        rest = e * t
        slope = t * rest
    elif GATE == "exact":
        t = -_expm1(-q, TERMS)
        rest = tl.exp(-q)
        slope = rest
    else:
        t = q
        rest = 1.0 - q
        slope = tl.zeros_like(q) + 1.0
    return t, rest, slope


@triton.jit
def gated_forward(a, b, z0, z, last, T, N, KEEP: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """Run z = a z + b forward."""
    i = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = n < N
    state: tl.constexpr = last.dtype.element_ty
    c = i * 2 * N + n
    re = tl.zeros([BLOCK], state)
    im = tl.zeros([BLOCK], state)
    if z0 is not None:
        re, im = _parts(z0, c, N, mask, state)
    for t in tl.range(0, T, num_stages=STAGES):
        x = (i * T + t) * 2 * N + n
        ar, ai = _parts(a, x, N, mask, state)
        br, bi = _parts(b, x, N, mask, state)
        new_re = ar * re - ai * im + br
        im = ar * im + ai * re + bi
        re = new_re
        if KEEP:
            _put(z, x, N, mask, re, im)
    _put(last, c, N, mask, re, im)


@triton.jit
def gated_backward(dz, dlast, a, z0, z, da, db, dz0, T, N, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """Run lambda_t = dz_t + conj(a_{t+1}) lambda_{t+1} backward."""
    i = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = n < N
    state: tl.constexpr = dz0.dtype.element_ty
    c = i * 2 * N + n
    re = tl.zeros([BLOCK], state)
    im = tl.zeros([BLOCK], state)
    sr = tl.zeros([BLOCK], state)
    si = tl.zeros([BLOCK], state)
    if dlast is not None:
        re, im = _parts(dlast, c, N, mask, state)
    if z0 is not None:
        sr, si = _parts(z0, c, N, mask, state)
    for u in tl.range(0, T, num_stages=STAGES):
        t = T - 1 - u
        x = (i * T + t) * 2 * N + n
        ar, ai = _parts(a, x, N, mask, state)
        pr, pi = _parts(z, x - 2 * N, N, mask & (t > 0), state)
        pr = tl.where(t > 0, pr, sr)
        pi = tl.where(t > 0, pi, si)
        if dz is not None:
            gr, gi = _parts(dz, x, N, mask, state)
            re += gr
            im += gi
        _put(da, x, N, mask, re * pr + im * pi, im * pr - re * pi)
        _put(db, x, N, mask, re, im)
        new_re = ar * re + ai * im
        im = ar * im - ai * re
        re = new_re
    _put(dz0, c, N, mask, re, im)


@triton.jit
def cfc_forward(
    v, q, R, z0, z, last, T, N, INV_A: tl.constexpr, GATE: tl.constexpr, KEEP: tl.constexpr, EACH_Q: tl.constexpr,
    EACH_R: tl.constexpr, TERMS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run z = (1 - t) R z + t s forward."""
    i = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = n < N
    state: tl.constexpr = last.dtype.element_ty
    c = i * 2 * N + n
    re = tl.zeros([BLOCK], state)
    im = tl.zeros([BLOCK], state)
    if z0 is not None:
        re, im = _parts(z0, c, N, mask, state)
    for t in tl.range(0, T, num_stages=STAGES):
        x = (i * T + t) * 2 * N + n
        vr, vi = _parts(v, x, N, mask, state)
        y = (i * T + t) * N + n if EACH_Q else n
        rate, rest, _ = _rate(tl.load(q + y, mask=mask, other=0.0).to(state), GATE, TERMS)
        if R is not None:
            cos, sin = _parts(R, x if EACH_R else n, N, mask, state)
            turned = cos * re - sin * im
            im = cos * im + sin * re
            re = turned
        ur = vr * INV_A
        ui = vi * INV_A
        into = rate / tl.sqrt(1.0 + ur * ur + ui * ui)
        re = rest * re + into * vr
        im = rest * im + into * vi
        if KEEP:
            _put(z, x, N, mask, re, im)
    _put(last, c, N, mask, re, im)


@triton.jit
def cfc_backward(
    dz, dlast, v, q, R, z0, z, dv, dq, dR, dz0, T, N, INV_A: tl.constexpr, GATE: tl.constexpr, EACH_Q: tl.constexpr,
    EACH_R: tl.constexpr, TERMS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run lambda_t = dz_t + (1 - t_{t+1}) conj(R_{t+1}) lambda_{t+1} backward.

    Gradients of what all steps share are summed in registers and stored once a sample.
    """
    i = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = n < N
    state: tl.constexpr = dz0.dtype.element_ty
    c = i * 2 * N + n
    re = tl.zeros([BLOCK], state)
    im = tl.zeros([BLOCK], state)
    start_re = tl.zeros([BLOCK], state)
    start_im = tl.zeros([BLOCK], state)
    sum_cos = tl.zeros([BLOCK], state)
    sum_sin = tl.zeros([BLOCK], state)
    sum_q = tl.zeros([BLOCK], state)
    if dlast is not None:
        re, im = _parts(dlast, c, N, mask, state)
    if z0 is not None:
        start_re, start_im = _parts(z0, c, N, mask, state)
    for u in tl.range(0, T, num_stages=STAGES):
        t = T - 1 - u
        x = (i * T + t) * 2 * N + n
        vr, vi = _parts(v, x, N, mask, state)
        y = (i * T + t) * N + n if EACH_Q else n
        rate, rest, slope = _rate(tl.load(q + y, mask=mask, other=0.0).to(state), GATE, TERMS)
        pr, pi = _parts(z, x - 2 * N, N, mask & (t > 0), state)
        pr = tl.where(t > 0, pr, start_re)
        pi = tl.where(t > 0, pi, start_im)
        if dz is not None:
            gr, gi = _parts(dz, x, N, mask, state)
            re += gr
            im += gi
        ur = vr * INV_A
        ui = vi * INV_A
        scale = 1.0 / tl.sqrt(1.0 + ur * ur + ui * ui)
        sr = scale * vr
        si = scale * vi
        along = INV_A * INV_A * (re * sr + im * si)
        _put(dv, x, N, mask, rate * scale * (re - along * sr), rate * scale * (im - along * si))
        fr = rest * re
        fi = rest * im
        if R is not None:
            cos, sin = _parts(R, x if EACH_R else n, N, mask, state)
            turn_cos = fr * pr + fi * pi
            turn_sin = fi * pr - fr * pi
            if dR is not None:
                if EACH_R:
                    _put(dR, x, N, mask, turn_cos, turn_sin)
                else:
                    sum_cos += turn_cos
                    sum_sin += turn_sin
            turned = cos * pr - sin * pi
            pi = cos * pi + sin * pr
            pr = turned
            turned = cos * fr + sin * fi
            fi = cos * fi - sin * fr
            fr = turned
        grad_q = slope * (re * (sr - pr) + im * (si - pi))
        if EACH_Q:
            tl.store(dq + y, grad_q.to(dq.dtype.element_ty), mask=mask)
        else:
            sum_q += grad_q
        re = fr
        im = fi
    _put(dz0, c, N, mask, re, im)
    if not EACH_Q:
        tl.store(dq + i * N + n, sum_q, mask=mask)
    if dR is not None and not EACH_R:
        _put(dR, c, N, mask, sum_cos, sum_sin)
