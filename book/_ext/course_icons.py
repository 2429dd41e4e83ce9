"""The icons of the site, as style sheets: the theme names them as Font Awesome does.

Each is drawn in strokes on a square of 24 x 24 and takes the colour of its text.
"""

from __future__ import annotations

from urllib.parse import quote

FILE = "<path d='M6 3h8l4 4v14H6zM14 3v4h4'/>"
ICONS = {
    "angle-left": "<path d='M15 5l-7 7 7 7'/>",
    "angle-right": "<path d='M9 5l7 7-7 7'/>",
    "arrow-up": "<path d='M12 20V4M5 11l7-7 7 7'/>",
    "bars": "<path d='M4 6h16M4 12h16M4 18h16'/>",
    "circle-half-stroke": "<circle cx='12' cy='12' r='9'/>"
    "<path fill='#000' d='M12 3a9 9 0 0 1 0 18z'/>",
    "code": "<path d='M8 6l-6 6 6 6M16 6l6 6-6 6'/>",
    "download": "<path d='M12 3v12M6 10l6 6 6-6M4 21h16'/>",
    "expand": "<path d='M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5'/>",
    "file": FILE,
    "file-pdf": FILE + "<path d='M9 12h6M9 16h6'/>",
    "github": "<circle cx='6' cy='5' r='2.5'/><circle cx='6' cy='19' r='2.5'/>"
    "<circle cx='18' cy='7' r='2.5'/><path d='M6 8v8M18 10c0 5-8 3-10 7'/>",
    "list": "<path d='M9 6h12M9 12h12M9 18h12M4 6h0M4 12h0M4 18h0'/>",
    "magnifying-glass": "<circle cx='10.5' cy='10.5' r='6.5'/>"
    "<path d='M15.5 15.5L21 21'/>",
    "moon": "<path d='M20 14A8.5 8.5 0 0 1 10 4a8.5 8.5 0 1 0 10 10z'/>",
    "rocket": "<path d='M12 2c4 3 5 8 4 13H8C7 10 8 5 12 2zM8 11l-4 5 4 1M16 11l4 5-4 1"
    "M12 18v4M12 9h0'/>",
    "sun": "<circle cx='12' cy='12' r='4'/><path d='M12 2v2M12 20v2M2 12h2M20 12h2"
    "M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19'/>",
}
SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='#000' stroke-width='2' stroke-linecap='round' stroke-linejoin='round'>"
    "{}</svg>"
)
SAFE = "/:=' "  # what may stand as it is in an address between double quotes
ALL = """\
:is(.fas, .fab, .fa-solid)::before {
  background: currentColor; content: ""; display: inline-block;
  height: 1.1em; width: 1.1em;
  -webkit-mask: var(--icon) center / contain no-repeat;
  mask: var(--icon) center / contain no-repeat; vertical-align: -.15em;
}
.fa-lg::before { vertical-align: -.4em; }
"""


def icon_styles() -> str:
    """The rules that draw all icons."""
    rules = (
        f'.fa-{name} {{ --icon: url("data:image/svg+xml,'
        f'{quote(SVG.format(shapes), safe=SAFE)}"); }}\n'
        for name, shapes in ICONS.items()
    )
    return ALL + "".join(rules)
