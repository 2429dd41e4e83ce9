"""The colours of the diagrams in a light and a dark scheme, and how boxes look."""

__all__ = ["LIGHT", "DARK", "SANS", "STYLE", "LOOKS"]

SANS = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

LIGHT = {
    "ink": "#1c2733",  # words and arrows
    "quiet": "#55606c",  # remarks, shapes, what was there before
    "accent": "#0f766e",
    "new": "#b4400a",  # what a lesson adds
    "edge": "#7d8a97",  # of boxes
    "rule": "#c3ccd4",  # of quiet boxes, and between parts
    "soft": "#e6ebef",  # areas
    "accent-soft": "#d3ebe7",
    "new-soft": "#fde5d3",
    "paper": "#ffffff",  # inside of boxes
    "panel": "#f5f7f9",  # the ground
}
DARK = {
    "ink": "#e6edf3",
    "quiet": "#a9b4bf",
    "accent": "#5eead4",
    "new": "#fdad6b",
    "edge": "#7f8c99",
    "rule": "#46525e",
    "soft": "#2c363f",
    "accent-soft": "#17443f",
    "new-soft": "#533419",
    "paper": "#12181f",
    "panel": "#1c2228",
}

# Tone of a box, of cells or of a plus -> tone of its inside, of its edge, and how thick
# this is: what is new can be told without colours.
LOOKS = {
    "ink": ("paper", "edge", 1.5),
    "quiet": ("paper", "rule", 1.5),
    "accent": ("accent-soft", "accent", 1.5),
    "new": ("new-soft", "new", 2.5),
}


def _declared(scheme: dict[str, str]) -> str:
    """A scheme's colours as variables of a drawing."""
    colours = "".join(f"--d-{tone}:{colour};" for tone, colour in scheme.items())
    return f".d-diagram{{{colours}}}"


# A page switches a drawing that stands in it by setting these variables itself.
STYLE = "\n".join(
    [
        "<style>",
        _declared(LIGHT),
        f"@media screen and (prefers-color-scheme: dark){{{_declared(DARK)}}}",
        *(
            f".d-{tone}{{fill:var(--d-{tone})}}.d-{tone}-line{{stroke:var(--d-{tone})}}"
            for tone in LIGHT
        ),
        f".d-mono{{font-family:{MONO}}}",
        "</style>",
    ]
)
