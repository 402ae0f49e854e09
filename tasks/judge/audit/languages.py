"""What must be known of a language to make a right answer wrong by a word: how it is told, how it negates.

A language is told by its function words, or by its script. Where none can be told nothing is negated: half a
negation would be no error.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.data.duplicates import folded

FEWEST = 2  # function words by which a text is told
MOST = 0.8  # share of the told texts from which their language is that of the others too

Rule = tuple[re.Pattern[str], str]
"""Where a text is changed, and into what."""


@dataclass(frozen=True)
class Language:
    """One that can be told."""

    name: str
    words: frozenset[str] = frozenset()
    """Its function words: no noun is among them."""
    articles: frozenset[str] = frozenset()
    """After these stands a noun, or its adjective."""
    taken_out: tuple[Rule, ...] = ()
    put_in: tuple[Rule, ...] = ()


def language_of(text: str) -> Language | None:
    """The language whose function words a text has most of; of scripts that one language alone has, that."""
    if re.search("[\u3040-\u30ff]", text):
        return JAPANESE
    if re.search("[\u4e00-\u9fff]", text):
        return CHINESE
    words = re.findall(r"[^\W\d_]+", folded(text))
    counts = sorted(((sum(word in one.words for word in words), one.name) for one in TOLD), reverse=True)
    (most, name), (second, _) = counts[:2]
    return LANGUAGES[name] if most >= FEWEST and most > second else None


def common_language(texts: Iterable[str]) -> Language | None:
    """The language of nearly all texts of which one can be told."""
    counts = Counter(one.name for one in map(language_of, texts) if one)
    if not counts:
        return None
    ((name, count),) = counts.most_common(1)
    return LANGUAGES[name] if count >= MOST * counts.total() else None


_QUOTED = re.compile(r"(?<!\w)(['\"]).*?\1(?!\w)|“.*?”|«.*?»|„.*?“|‘.*?’(?!\w)|「.*?」")


def negated(text: str, language: Language | None) -> str | None:
    """The text with its first negation taken out, or else one put in; None where neither can be.

    What stands in quotation marks is spoken of, not said, and stays.
    """
    if language is None:
        return None
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    for pattern, replacement in (*language.taken_out, *language.put_in):
        for match in pattern.finditer(text):
            if not any(start < match.end() and match.start() < end for start, end in quoted):
                return text[: match.start()] + match.expand(replacement) + text[match.end() :]
    return None


def _rules(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


def _any(words: str) -> str:
    return rf"\b({'|'.join(words.split())})\b"


def _language(
    name: str, words: str, articles: str = "", taken_out: tuple[Rule, ...] = (), put_in: tuple[Rule, ...] = ()
) -> Language:
    own = frozenset(articles.split())
    return Language(name, frozenset(words.split()) | own, own, taken_out, put_in)


TOLD = (
    _language(
        "English",
        "of and to in is are was were am be been it that this these those for on with as by or from at not "
        "you he she they we his her their which what when who how but if than then there has have had can "
        "will would should could do does did i me him them us so such into about",
        "the a an its my your our",
        _rules(
            (r"\b([Cc])an(?:not|[’']t)\b", r"\1an"),
            (r"\b([Ww])on[’']t\b", r"\1ill"),
            (r"(?<=\w)n[’']t\b", ""),
            (r"\bno longer\b", "still"),
            (r"\b(?:not(?! only)|never) ", ""),
        ),
        _rules(
            (
                rf"(?<!\bto ){_any('is are was were am can could will would must has have had')}(?![’'])",
                r"\1 not",
            )
        ),
    ),
    _language(
        "German",
        "und ist sind war nicht mit von zu im auf für es er sie wir ich auch als wie bei nach aus hat haben "
        "werden wird dass oder wenn sich noch nur aber so kann in am",
        "der die das den dem des ein eine einen einem einer eines",
        _rules((r"\bkein", "ein"), (r"\bKein", "Ein"), (r"\b(?:nicht|niemals|nie) ", ""), (r" nicht\b", "")),
        _rules(
            (
                _any(
                    "ist sind war waren wird werden wurde wurden kann können hat haben muss müssen soll darf"
                ),
                r"\1 nicht",
            )
        ),
    ),
    _language(
        "French",
        "et est sont dans que qui pour sur avec par pas ne se il elle nous vous ils ce cette en au aux plus "
        "été être à ou où mais son sa ses leur c d s qu n",
        "le la les un une des du l",
        _rules((r"\b(?:ne |n[’'])(\w+) (?:pas|jamais|plus)\b", r"\1")),
        _rules(
            (r"\b([Cc])[’']est\b", r"\1e n'est pas"),
            (rf"(?<![’']){_any('est était étaient ont avait avaient')}", r"n'\1 pas"),
            (_any("sont peut peuvent doit doivent fut sera seront se vont va"), r"ne \1 pas"),
        ),
    ),
    _language(
        "Spanish",
        "de y en que es son se con por para como más su sus al no lo pero fue está están o muy cuando donde "
        "hay ser porque también entre hasta desde ha",
        "el la los las un una unos unas del",
        _rules((r"\b[Nn](?:o|unca) (?=\w)", "")),
        _rules(
            (
                _any("es son está están era eran fue fueron puede pueden tiene tienen ha han hay debe deben"),
                r"no \1",
            )
        ),
    ),
    _language(
        "Portuguese",
        "de e em que é são se com por para como mais seu sua não mas foi está ou ao à pelo pela quando onde "
        "muito ser também entre até há isso você",
        "o a os as um uma do da dos das no na nos nas",
        _rules((r"\b[Nn](?:ão|unca) (?=\w)", "")),
        _rules((_any("é são está estão era eram foi foram pode podem tem têm há deve devem"), r"não \1")),
    ),
    _language(
        "Italian",
        "di e in che è sono si con per come più suo sua non ma fu o quando dove molto essere anche tra fino "
        "ha hanno questo questa ed ne ci",
        "il lo la i gli le un uno una del della dei delle dello al alla nel nella l",
        _rules((r"\b[Nn]on (?=\w)", "")),
        _rules(
            (r"\b[Cc][’']è\b", "non c'è"),
            (_any("è sono era erano fu furono può possono ha hanno deve devono"), r"non \1"),
        ),
    ),
    _language(
        "Dutch",
        "van en is zijn was in op te dat die met voor niet aan er om ook als bij naar uit heeft hebben "
        "worden wordt of maar door over kan ik je hij zij we wij",
        "de het een",
        _rules((r"\bgeen\b", "een"), (r"\bniet ", ""), (r" niet\b", "")),
        _rules((_any("is zijn was waren wordt worden kan kunnen heeft hebben moet moeten"), r"\1 niet")),
    ),
    _language(
        "Swedish",
        "och att i är som på med för av det den inte till om har han hon de vi jag kan från eller men var "
        "ska blir sig vid",
        "en ett",
        _rules((r"\binte ", ""), (r" inte\b", "")),
        _rules((_any("är var kan har ska blir finns"), r"\1 inte")),
    ),
    _language(
        "Polish",
        "i w na z do jest są się nie to że o jak dla po od przez ale czy był była było były oraz który która "
        "które ma mają może",
        "",
        _rules((r"\b[Nn]ie (?=\w)", "")),
        _rules((_any("jest są był była było były może mogą ma mają"), r"nie \1")),
    ),
    _language(
        "Russian",
        "и в на с что не это как он она они мы вы по к из у за от для но а же или был была было были может "
        "который которая которые является его её их",
        "",
        _rules((r"\b[Нн]е (?=\w)", "")),
        _rules(
            (
                _any("является являются был была было были может могут будет будут имеет имеют находится"),
                r"не \1",
            )
        ),
    ),
)
CHINESE = Language(
    "Chinese",
    taken_out=_rules(("不(?=是|能|会|可以|在)", ""), ("没有", "有")),
    put_in=_rules(
        ("(?<![但就还只于可要总不])是(?!否)", "不是"),
        ("可以", "不可以"),
        ("(?<![所没只具拥])有(?!些|时)", "没有"),
    ),
)
JAPANESE = Language(
    "Japanese",
    taken_out=_rules(("ではありません", "です"), ("ません", "ます"), ("ではない", "である")),
    put_in=_rules(
        ("である", "ではない"),
        ("です(?=[。、！]|$)", "ではありません"),
        ("ます(?=[。、！]|$)", "ません"),
    ),
)
LANGUAGES = {one.name: one for one in (*TOLD, CHINESE, JAPANESE)}
FUNCTION_WORDS = frozenset().union(*(one.words for one in TOLD))
