"""Functions that the stages of a C program share; a program has those that it calls."""

from __future__ import annotations

import re

_COUNT = """\
/* Number of bits that are 1. */
static uint32_t @_ones(uint32_t x)
{
#ifdef @_POPCOUNT
    return (uint32_t)__builtin_popcount(x);
#else
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0fu;
    return (x * 0x01010101u) >> 24;
#endif
}"""

_COUNT_WORDS = """\
static uint32_t @_count{suffix}(const uint32_t *x{parameters}, int32_t n)
{{
    uint32_t sum = 0;
#ifndef @_POPCOUNT
    /* Four words at a time are added to digits of one, two and four, so that one of five is counted. */
    uint32_t ones = 0, twos = 0;
    for (; n >= 4; n -= 4) {{
        const uint32_t a = {first}, b = {second}, c = {third}, d = {fourth};
        const uint32_t ab = ones ^ a, carry1 = (ones & a) | (ab & b);
        const uint32_t abc = ab ^ b, cd = abc ^ c, carry2 = (abc & c) | (cd & d);
        const uint32_t both = twos ^ carry1;
        sum += @_ones((twos & carry1) | (both & carry2));
        twos = both ^ carry2;
        ones = cd ^ d;
        {moves};
    }}
    sum = 4u * sum + 2u * @_ones(twos) + @_ones(ones);
#endif
    for (; n > 0; n--) {{
        sum += @_ones({rest});
        {move};
    }}
    return sum;
}}"""

_TOTAL = """\
static uint32_t @_total_{name}(const {kind} *x, int32_t n)
{{
    uint32_t sum = 0;
    for (int32_t i = 0; i < n; i++) {{
        const int32_t number = x[i];
        sum += (uint32_t)number;
    }}
    return sum;
}}"""

_DOT = """\
/* Sum of numbers times weights of {bits} bits, {each} to a byte. */
static uint32_t @_dot_{name}_{bits}(const {kind} *x, const uint8_t *weights, int32_t n)
{{
    uint32_t sum = 0;
    for (int32_t i = 0; i < n; i += {each}) {{
        uint32_t fields = *weights++;
        for (int32_t j = 0; j < {each}; j++) {{
            const int32_t number = x[i + j];
            sum += (fields & {mask}u) * (uint32_t)number;
            fields >>= {bits};
        }}
    }}
    return sum;
}}"""

_DOT_8 = """\
/* Sum of numbers times weights of 8 bits. */
static uint32_t @_dot_{name}_8(const {kind} *x, const int8_t *weights, int32_t n)
{{
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++) sum += (int32_t)x[i] * weights[i];
    return (uint32_t)sum;
}}"""

_WIDE_DOT_8 = """\
/* Sum of numbers times weights of 8 bits. */
static uint32_t @_dot_{name}_8(const {kind} *x, const int8_t *weights, int32_t n)
{{
    uint32_t sum = 0;
    for (int32_t i = 0; i < n; i++) {{
        const int32_t weight = weights[i];
        sum += (uint32_t)x[i] * (uint32_t)weight;
    }}
    return sum;
}}"""

_GET = """\
static int32_t @_get_{name}(const uint8_t *from)
{{
    {kind} x;
    memcpy(&x, from, sizeof x);
    return x;
}}"""

_PUT = """\
static void @_put_{name}(uint8_t *to, int32_t number)
{{
    const {kind} x = ({kind})number;
    memcpy(to, &x, sizeof x);
}}"""


def _count_words(suffix: str, expression: str) -> str:
    pointers = re.findall(r"[a-z]+", expression)
    words = {
        name: re.sub(r"[a-z]+", rf"\g<0>[{at}]", expression)
        for at, name in enumerate(("first", "second", "third", "fourth"))
    }
    return _COUNT_WORDS.format(
        suffix=suffix,
        parameters="".join(f", const uint32_t *{pointer}" for pointer in pointers[1:]),
        rest=words["first"],
        moves="; ".join(f"{pointer} += 4" for pointer in pointers),
        move="; ".join(f"{pointer}++" for pointer in pointers),
        **words,
    )


def _all() -> dict[str, str]:
    """Helpers in an order in which each comes before those that call it."""
    kinds = {"u8": "uint8_t", "i8": "int8_t", "i32": "int32_t"}
    found = {
        "int": (
            "/* Number in two's complement. */\n"
            "static int32_t @_int(uint32_t x)\n{\n"
            "    return x <= 0x7fffffffu ? (int32_t)x : -(int32_t)(0xffffffffu - x) - 1;\n}"
        ),
        "shift": (
            "/* x / 2^shift, rounded to the nearest integer, halves upwards. */\n"
            "static int64_t @_shift(int64_t x, int32_t shift)\n{\n"
            "    x += (int64_t)1 << (shift - 1);\n"
            "    return x >= 0 ? x >> shift : ~(~x >> shift);\n}"
        ),
        "clip": (
            "static int32_t @_clip(int64_t x, int32_t low, int32_t high)\n{\n"
            "    return x < low ? low : x > high ? high : (int32_t)x;\n}"
        ),
        "append": (
            "/* Set up to 8 bits that are 0 so far. */\n"
            "static void @_append(uint32_t *words, int32_t at, uint32_t bits)\n{\n"
            "    const int32_t shift = at & 31;\n"
            "    words[at >> 5] |= bits << shift;\n"
            "    if (shift > 24) words[(at >> 5) + 1] |= bits >> (32 - shift);\n}"
        ),
        "ones": _COUNT,
        "count": _count_words("", "x"),
        "count_and": _count_words("_and", "x & y"),
        "count_xor": _count_words("_xor", "(x ^ y) & mask"),
    }
    for name, kind in kinds.items():
        found[f"total_{name}"] = _TOTAL.format(name=name, kind=kind)
        for bits in (1, 2, 4):
            found[f"dot_{name}_{bits}"] = _DOT.format(name=name, kind=kind, bits=bits, each=8 // bits, mask=2**bits - 1)
        found[f"dot_{name}_8"] = (_WIDE_DOT_8 if name == "i32" else _DOT_8).format(name=name, kind=kind)
    for name, kind in (("i16", "int16_t"), ("i32", "int32_t")):
        found[f"get_{name}"] = _GET.format(name=name, kind=kind)
        found[f"put_{name}"] = _PUT.format(name=name, kind=kind)
    return found


def called(prefix: str, code: str) -> str:
    """Those helpers that a program calls, and those that they call."""
    helpers = _all()
    needed = set(re.findall(rf"\b{prefix}_(\w+)\(", code)) & set(helpers)
    for name in reversed(helpers):
        if name in needed:
            needed |= set(re.findall(r"@_(\w+)\(", helpers[name])) & set(helpers)
    return "\n\n".join(text for name, text in helpers.items() if name in needed).replace("@", prefix)
