"""Texts that a prompt or a vocabulary may hold and that break careless programs.

`HOSTILE` maps a name to a text. Every one is written with escapes, so that this
file stays plain ASCII and shows what is in it. Functions that make a text
harmless are tested with every one, whatever shows a text with `DOORS`:
`@pytest.mark.parametrize("text", DOORS.values(), ids=DOORS)`.
"""

from __future__ import annotations

MARKUP: dict[str, str] = {
    "markup close": "[/]",
    "markup half close": "[/",
    "markup open": "[bold]",
    "markup close of nothing": "[/bold]",
    "markup action": "[@click=app.bell]x[/]",
    "markup quit action": "[@click='app.quit']quit[/]",
    "markup link": '[link="file:///etc/passwd"]x[/link]',
    "markup colour": "[on #ff0000]red[/]",
    "markup variable": "[$primary]x[/]",
    "markup escaped": "\\[bold]",
    "markup nested": "[[bold]]",
    "markup unclosed": "[bold",
    "markup backslash end": "[bold]x\\",
    "markup emoji code": ":smiley:",
    "markup html": "<script>alert(1)</script>&amp;<!-- ]]> -->",
    "markup markdown": "| a | b |\n|---|---|\n`code` **bold** # x",
    "format fields": "{0} {name} %s %(x)s ${HOME} {{",
}
"""Rich, Textual, HTML, Markdown and format-string syntax."""

CONTROLS: dict[str, str] = {
    "empty": "",
    "escape alone": "\x1b",
    "clear screen": "\x1b[2J\x1b[H",
    "colour": "\x1b[31mred\x1b[0m",
    "alternate screen": "\x1b[?1049l",
    "mouse on": "\x1b[?1000h\x1b[?1006h",
    "ask for the cursor": "\x1b[6n",
    "ask for the terminal": "\x1b[c\x1b[>c",
    "reset": "\x1bc",
    "set the title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;http://example.invalid/\x1b\\link\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "clipboard read": "\x1b]52;c;?\x07",
    "device string": "\x1bPq#0;2;0;0;0\x1b\\",
    "unended string": "\x1b]0;never ended",
    "bell": "\x07",
    "nul": "\x00",
    "nul inside": "a\x00b",
    "backspaces": "abc\x08\x08\x08xyz",
    "delete": "\x7f",
    "every C0": "".join(map(chr, range(0x20))),
    "every C1": "".join(map(chr, range(0x80, 0xA0))),
    "C1 control sequence": "\x9b2J",
    "C1 operating system command": "\x9d0;owned\x9c",
    "carriage return": "safe\rEVIL",
    "carriage return newline": "a\r\nb",
    "newline": "\n",
    "newlines": "\n\n\n",
    "tab": "\t",
    "tabs": "a\tb\t\tc",
    "vertical tab and form feed": "a\x0bb\x0cc",
    "next line": "a\x85b",
    "line and paragraph separators": "a\u2028b\u2029c",
    "shift out": "\x0ea\x0f",
}
"""Control characters and escape sequences."""

SCRIPTS: dict[str, str] = {
    "spaces": "   ",
    "leading space": " is",
    "odd spaces": "\u00a0\u2002\u2003\u2007\u202f\u205f\u3000",
    "zero-width": "a\u200b\u200c\u200d\u2060\ufeffb",
    "zero-width joiner alone": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "soft\u00adhyphen",
    "right-to-left override": "\u202egnp.exe",
    "every bidi control": (
        "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    ),
    "arabic": "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "hebrew": "\u05e2\u05d1\u05e8\u05d9\u05ea",
    "mixed directions": "abc \u05d0\u05d1\u05d2 123 \u0627\u0628",
    "devanagari": "\u0928\u092e\u0938\u094d\u0924\u0947",
    "thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "hangul jamo": "\u1112\u1161\u11ab",
    "cjk": "\u6df1\u5ea6\u5b66\u4e60",
    "cjk outside the first plane": "\U00020000\U0002a6d6",
    "half and full width": "\uff76\uff9e\uff21\uff22\uff23",
    "emoji": "\U0001f600",
    "emoji family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "emoji skin tone": "\U0001f44d\U0001f3fd",
    "emoji flag": "\U0001f1eb\U0001f1f7",
    "emoji half flag": "\U0001f1eb",
    "emoji tag flag": ("\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"),
    "emoji keycap": "1\ufe0f\u20e3",
    "variation selectors": "\u2764\ufe0f \u2764\ufe0e \u845b\U000e0100",
    "variation selector alone": "\ufe0f",
    "combining mark alone": "\u0301",
    "combining marks piled up": "Z" + "\u0300\u0323\u0334\u0489" * 20,
    "ligature": "\ufdfd",
    "box drawing": "\u250c\u2500\u2510\u2502\u2580\u2584\u2588\u2591",
    "byte-level pieces": "\u0120the\u010a\u0109",
    "sentencepiece pieces": "\u2581the<0x0A>\u2581",
    "control pictures": "\u2400\u241b\u2424",
    "private use": "\ue000\uf8ff\U000f0000",
    "tag characters": "\U000e0001\U000e0061\U000e0062",
    "interlinear annotation": "\ufff9a\ufffab\ufffb",
}
"""Wide, joined, invisible and right-to-left characters."""

BROKEN: dict[str, str] = {
    "replacement": "\ufffd",
    "replacements": "\ufffd\ufffd",
    "high surrogate": "\ud83d",
    "low surrogate": "\ude00",
    "surrogates in the wrong order": "\ude00\ud83d",
    "surrogate pair": "\ud83d\ude00",
    "surrogate inside": "a\udc80b",
    "non-characters": "\ufffe\uffff\ufdd0\U0001fffe\U0010ffff",
    "unassigned": "\u0378\U000e0fff",
}
"""Pieces of characters, and code points that are none. Surrogates cannot be written as UTF-8."""

LONG: dict[str, str] = {
    "very long": "x" * 5_000,
    "very long without a break, wide": "\u6df1" * 2_000,
    "very long spaces": " " * 1_000,
    "very long markup": "[bold]" * 500,
    "special token": "<|endoftext|>",
    "special token brackets": "<s>[INST] <<SYS>> [/INST]</s>",
    "path": "../../../etc/passwd",
    "formula in a spreadsheet": "=HYPERLINK(1)",
    "quotes": "\"'`\\",
    "percent": "100%|%n%s",
}
"""Very long tokens, and tokens that mean something to another program."""

HOSTILE: dict[str, str] = {**MARKUP, **CONTROLS, **SCRIPTS, **BROKEN, **LONG}
"""All of them, by name."""

DOORS: dict[str, str] = {
    "markup": " ".join([*MARKUP.values(), *list(LONG.values())[4:]]),
    "controls": " ".join(CONTROLS.values()),
    "characters": " ".join([*SCRIPTS.values(), *BROKEN.values()]),
}
"""All but the very long ones in three, for the doors through which texts go."""

HOSTILE_PROMPT = " ".join(text for text in HOSTILE.values() if len(text) < 200)
"""One prompt that holds all of the shorter ones."""
