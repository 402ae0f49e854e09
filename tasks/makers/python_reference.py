"""The Python language reference as rows of text: real English that every CPython ships."""

import re


def make_rows(_count: int, _seed: int) -> list[dict[str, str]]:
    """A row a topic, all of them whatever is asked for.

    Its paragraphs are wrapped and indented for a terminal; each becomes one line again, or a model would
    learn little but line ends and spaces. Many topics stand whole within another: those are left out, or
    what is held out would have been trained on.
    """
    from pydoc_data.topics import topics

    texts = [_unwrapped(topics[name]) for name in sorted(topics)]
    words = [" ".join(["", *re.findall(r"[^\W_]+", text), ""]) for text in texts]
    return [
        {"text": text}
        for index, text in enumerate(texts)
        if not any(
            words[index] in other and (words[index] != other or earlier < index)
            for earlier, other in enumerate(words)
            if earlier != index
        )
    ]


def _unwrapped(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
