"""The stand-in play: text for machines that have no Tiny Shakespeare and no network.

A seeded grammar of the course's own writes it. It has the size of Tiny Shakespeare and
exactly its 65 characters, so every shape and parameter count stays the same. It also
has structure at every distance, as a real text has: spelling, agreement of subject and
verb, sentences, speakers who name each other, and a few themes that last for a scene.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

__all__ = ["write_play"]

LENGTH = 1_115_000  # characters; the last scene runs a little over

# A rule is a name and its alternatives; <name> stands for whatever that rule writes.
# The earlier an alternative stands, the more often it is taken.
GRAMMAR = """
sentence = <claim>. | <claim>, and <claim>. | <question>? | <call>, <claim>. |
    <claim>; <claim>. | <order>. | <cry>! | <when> <claim>, <claim>. |
    <claim>: <claim>. | <call>, <order>! | nay, <claim>. | <call>, <question>? |
    'tis <adj>, <call>. | <order>, or <claim>. | <claim>, for <claim>.
claim = I <do> <them> | <one> <does> <them> | <many> <do> <them> | thou <dost> <them> |
    <one> is <state> | we <do> <them> | <one> <does> <how> | I will <do> <them> |
    <he> <does> <them> | <many> are <state> | <one> hath <did> <them> | I am <state> |
    I have <did> <them> | <many> <do> <how> | thou hast <did> <them> |
    thou art <state> | <he> <did> <them> | <one> shall <do> <them> |
    there is <some> in <place>
question = why <doth> <one> <do> <them> | where is <one> | hast thou <did> <them> |
    who <does> <them> | what <adj> <thing> is this | shall I <do> <them> |
    dost thou <do> <me> | is <one> so <adj> | how shall <many> <do> <them>
order = <do> <them> | bring <me> <some> | <do> <me> <how> | speak no more of <them> |
    come to <place> | go, <do> <them> and <do> <them> | let us <do> <them>
cry = O <adj> <thing> | alas, <one> is <state> | away with <them> | fie upon <some> |
    what <things> are these | ha, <friend> | <friend>, <friend> | item: <list>
list = <things>, <things> and <some> | 3 <things> & 3 <objects>, at $3 the <object>
one = the <thing> | my <thing> | <friend> | thy <thing> | the <adj> <person> |
    this <thing> | <his> <thing> | the <person> | my <adj> <thing> | every <person> |
    the <person>'s <thing> | a <person> of <town> | <virtue> | the <thing> in <place>
many = the <things> | my <things> | the <persons> | these <things> | <friend> and I |
    thy <things> | some <persons> of <town> | <his> <adj> <things>
them = <one> | <me> | <many> | <some> | <one> with <some> | <one> in <place> |
    <many> <how> | <one> and <one> | <one> that <does> <me> | no <thing> but <one>
some = a <adj> <thing> | a <thing> | <virtue> | no <thing> | a <thing> of <virtue> |
    a <thing> and a <thing> | too much <virtue> | every <thing>
state = <adj> | <did> | <adj> and <adj> | in <place> | as <adj> as <one> | not <adj> |
    <doing> <them> | too <adj> | <adj> with <virtue> | more <adj> than <one>
how = <adverb> | in <place> | with <virtue> | by the <thing> | like a <thing> |
    without <me> | for <virtue> | o'er the <thing> | <adverb> and <adverb> | at <place>
place = <town> | the <thing> | the <adj> <thing> | heaven | the <person>'s <thing>
call = <friend> | my lord | good <friend> | sir | my <adj> <person> | O <friend> |
    madam | <adj> <person>
thing = <theme> | <object> | <theme> | <adj> <theme>
things = <themes> | <objects> | <adj> <themes>
town = Veldamar | Ostrane | Quillport | Brandlow | Xanthe | Jessamere | Zuldova
when = when | if | while | though | since | before | because | until
doth = doth | must | will | should | may | would
me = me | thee | him | us | her | them
he = he | she | none | nobody | it
his = his | her | our | their
"""

NAMES = """Duke Orlin, Ambrel, Lady Mirel, Bertolin, King Eldrin, Cassamy, Sir Wimple,
Dorimond, Queen Tamsel, Fennimore, Gristaldo, Widow Pym, Hollibert, Isquith, Jorvane,
Captain Brack, Kestrin, Friar Dunstable, Montabel, Nimbolt, Master Gudgeon, Perrigo,
Quillon, Old Zabrino, Rosmunda, Bishop Crake, Thessaly, Ulfric, Verovane, Xanthule,
Nurse Pettle, Yselde"""

PERSONS = """soldier king widow sailor prince brother servant baker cousin fool daughter
queen beggar sister master tailor father mother pilgrim tyrant captain shepherd doctor
lover miller stranger piper weaver rogue merchant scholar gardener knight nurse butcher
mason hunter porter lawyer jester cobbler herald farmer barber dancer singer villain
orphan baron monk bishop prophet wizard giant ghost rival traitor coward champion
prisoner jailer cook clerk poet miser glutton gambler juggler tinker potter brewer
pirate smuggler governor judge sheriff watcher messenger steward drummer fiddler painter
glover teacher princess"""

OBJECTS = """crown heart sword lantern river letter garden window hand ring castle star
bell candle table storm tower horse bridge kingdom cradle grave ship mirror drum ladder
key door cloak shadow mountain feather purse throne hammer barrel trumpet fiddle boot
glove spoon meadow orchard valley harbour anchor sail market tavern kitchen chamber
stable barn mill oven apple pear plum cherry onion turnip cabbage hen raven sparrow
falcon donkey hound kitten fox serpent spider curtain pillow blanket goblet needle
ribbon coin jewel pearl ruby diamond chest lock gate wall chimney ember cloud tempest
lake forest thorn rose lily violet willow acorn plough wagon wheel saddle bridle banner
arrow shield helmet dagger dungeon chain rope oar map parchment ballad riddle proverb
promise bargain quarrel battle banquet pudding pie cheese puzzle quilt squirrel box
ox-cart island village prayer vow kiss tear sigh secret dream morning midnight winter
summer harvest rainbow bone"""

VIRTUES = """love mercy sorrow honour patience fortune silence laughter justice wisdom
folly hunger treason envy anger beauty grief music thunder courage memory vanity
jealousy darkness kindness madness friendship worship freedom flattery bravery gold
silver wine bread salt honey frost snow rain dust velvet daylight mischief vengeance"""

VERBS = """love follow bless want mock crown praise bury fear answer carry guard borrow
curse dread flatter greet haunt kiss measure mend pardon paint pity plunder prove punish
pursue question remember serve touch trust value warn watch wound admire banish burn
challenge comfort command conquer crush cure deceive defend deny deserve desire destroy
devour dismiss doubt embrace enchant endure entreat fancy favour fetch govern grace
hurry imagine insult invite join judge kindle lock marry murder nourish obey open poison
possess quicken ransom reach rescue resist reward roast ruin scold scorn seize shatter
shelter smother squander summon suspect swallow sweeten taste tease tempt thank torment
trample treasure trouble turn unlock vanquish vex welcome whisper"""

# These also give adverbs ("boldly") and virtues ("boldness"); those in LOOKS do not.
QUALITIES = """sweet noble gentle proud cold foolish bitter bold weary humble false
bright sad merry brave wild wicked faithful greedy quick quiet rash rusty savage
scornful shallow shameless sharp sleepless sleepy slow solemn sour stubborn sudden
sullen swift tender thankful thirsty thoughtful timid vain watchful weak willing wise
witty worthless wretched lazy crazy fearless fearful graceful careful careless cheerful
heartless hopeful hopeless joyful joyless lawful lawless merciful merciless mournful
nameless pitiful powerful ruthless speechless spiteful tearful truthful mild wrathful
youthful dizzy restless modest jealous"""
LOOKS = """poor old pale golden dark silent cruel soft hungry royal crooked secret
drunken frozen hollow broken lonely mighty patient rotten sacred violent warm wholesome
worthy barefoot bareheaded moonlit moth-eaten rain-washed star-crowned worm-bitten
sea-green iron-bound snow-white well-fed sweet-tongued fair"""

Draw = Callable[[], float]
Rules = dict[str, list[list[str]]]


def write_play(seed: int = 0) -> str:
    """Write a play of about 1.1 million characters.

    Args:
        seed: which play; every system and Python version writes the same one for it.

    Returns:
        Speeches with a blank line between them: a name in capitals, a colon, then verse
        lines of at most 48 characters. Exactly the 65 characters of Tiny Shakespeare.
    """
    # Only random() is used: Python promises its sequence for a seed in every version.
    draw = random.Random(seed).random
    rules = _read_rules()
    scenes: list[str] = []
    while sum(map(len, scenes)) < LENGTH:
        scenes.append(_scene(rules, draw))
    return "\n".join(scenes)


def _read_rules() -> Rules:
    """Collect each rule's alternatives: the grammar's, and the words with endings."""
    persons, objects, verbs = PERSONS.split(), OBJECTS.split(), VERBS.split()
    qualities = QUALITIES.split()
    rules = {"adj": qualities + LOOKS.split(), "adverb": _add("ly", qualities)}
    rules |= {"virtue": VIRTUES.split() + _add("ness", qualities), "do": verbs}
    rules |= {"person": persons, "persons": _add("s", persons)}
    rules |= {"object": objects, "objects": _add("s", objects)}
    for rule, ending in ("does", "s"), ("did", "ed"), ("dost", "est"), ("doing", "ing"):
        rules[rule] = _add(ending, verbs)
    for rule, body in re.findall(r"^(\w+) = (.+(?:\n .+)*)", GRAMMAR, re.MULTILINE):
        rules[rule] = " ".join(body.split()).split(" | ")
    return {rule: _cut(alternatives) for rule, alternatives in rules.items()}


def _add(ending: str, words: list[str]) -> list[str]:
    """Put an ending on each word as English spells it: pity + ed = pitied."""
    if ending == "s":
        words = [re.sub(r"(?<![aeiou])y$", "ie", word) for word in words]
        words = [re.sub("(s|sh|ch|x|z)$", r"\1e", word) for word in words]
    elif ending == "ly":
        words = [re.sub("([bt])le$", r"\1", word) for word in words]
    elif ending != "ness":
        words = [word.removesuffix("e") for word in words]
    if ending != "ing":
        words = [re.sub(r"(?<![aeiou])y$", "i", word) for word in words]
    return [word + ending for word in words]


def _cut(alternatives: list[str]) -> list[list[str]]:
    """Cut each alternative at its names: "my <thing>." = ["my ", "thing", "."]."""
    return [re.split("<(.+?)>", alternative) for alternative in alternatives]


def _scene(rules: Rules, draw: Draw) -> str:
    """Let two to five speakers talk, mostly about the scene's few themes."""
    cast = sorted(re.split(r",\s", NAMES), key=lambda _: draw())[: 2 + int(4 * draw())]
    themes = [_write("object", rules, draw) for _ in range(9)]
    rules |= {"theme": _cut(themes), "themes": _cut(_add("s", themes))}
    rules["friend"] = _cut(cast)
    speeches = []
    for _ in range(5 + int(25 * draw())):
        speaker = _write("friend", rules, draw)  # never the one who spoke last
        rules["friend"] = _cut([name for name in cast if name != speaker])
        speeches.append(f"{speaker.upper()}:\n{_speech(rules, draw)}\n")
    return "\n".join(speeches)


def _speech(rules: Rules, draw: Draw) -> str:
    """Write one to nine sentences in verse lines that begin with a capital."""
    count = 1 + int(9 * draw() * draw())
    prose = " ".join(_write("sentence", rules, draw) for _ in range(count))
    prose = re.sub(r"\ba (?=[aeiou])", "an ", prose)
    verse = "\n".join(re.findall(r"(.{1,48})(?: |$)", prose))
    return re.sub(r"(^|\n|[.?!] )'?[a-z]", lambda start: start[0].upper(), verse)


def _write(rule: str, rules: Rules, draw: Draw) -> str:
    """Take one alternative of a rule and write out every rule that it names."""
    alternatives, chance = rules[rule], draw()
    # The first alternative is three times as likely as the last.
    text, *rest = alternatives[int(len(alternatives) * chance * (1 + chance) / 2)]
    for name, after in zip(rest[::2], rest[1::2]):
        text += _write(name, rules, draw) + after
    return text
