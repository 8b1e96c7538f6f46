"""wordpiece_ref.py - WordPiece a second time, from its definition, with Python's own Unicode tables and none of the C code.

A text is cleaned (control characters go, white space is a space), Han characters get spaces around them, accents go by NFD without
marks (Mn), letters become small; words are what stands between white space, each punctuation character by itself; a word becomes the
longest token it begins with, then the longest that continues it, or the unknown token as a whole (Devlin et al. 2018, google-research/bert
tokenization.py; the bounds of characters as huggingface/tokenizers has them).

Prints, by seed, JSON lines: {"tokens", "lower", "strip", "clean", "han", "cases": [[text, [id, ...]], ...]}, tokens and texts in hexadecimal.
SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import unicodedata

UNK, SPECIAL = 1, ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
SPACES = set('\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000') | {chr(c) for c in range(0x2000, 0x200b)}
HAN = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF),
       (0x2F800, 0x2FA1F)]
ASCII_PUNCTUATION = set('!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~')


def is_han(c):
    return any(lo <= ord(c) <= hi for lo, hi in HAN)


def normal(text, lower, strip, clean, han):
    if clean:
        keep = [c for c in text if c in '\t\n\r' or not (c == '\ufffd' or unicodedata.category(c)[0] == 'C')]
        text = ''.join(' ' if c in SPACES else c for c in keep)
    if han:
        text = ''.join(' %s ' % c if is_han(c) else c for c in text)
    if strip:
        text = ''.join(c for c in unicodedata.normalize('NFD', text) if unicodedata.category(c) != 'Mn')
    return ''.join(c.lower() for c in text) if lower else text


def words(text):
    word = ''
    for c in text + ' ':
        alone = c in ASCII_PUNCTUATION or unicodedata.category(c)[0] == 'P'
        if (alone or c in SPACES) and word:
            yield word
            word = ''
        if alone:
            yield c
        elif c not in SPACES:
            word += c


def pieces(word, ids):
    out, at = [], 0
    while at < len(word):
        for end in range(len(word), at, -1):
            if ('##' if at else '') + word[at:end] in ids:
                break
        else:
            return [UNK]
        out.append(ids[('##' if at else '') + word[at:end]])
        at = end
    return out if len(word) <= 100 else [UNK]


# ---- texts and vocabularies by seed -----------------------------------------------------------------------------------
RANGES = [(0x61, 0x7A)] * 8 + [(0x41, 0x5A)] * 3 + [(0xC0, 0x17F), (0x180, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x5D0, 0x5EA), (0x620, 0x652),
          (0x900, 0x94D), (0xE01, 0xE3A), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x3041, 0x30FF), (0x4E00, 0x4E40), (0xAC00, 0xAC80), (0xF900, 0xF920),
          (0x20000, 0x20010), (0x2B820, 0x2B822), (0x2B920, 0x2B922), (0x300, 0x36F), (0x21, 0x40), (0x2010, 0x2030), (0x3001, 0x3011),
          (0x1F600, 0x1F640), (0x10400, 0x1044F), (0x130, 0x131)]
BETWEEN = [' '] * 10 + ['  ', '\t', '\n', '\r\n', '\x0b', '\x85', '\xa0', '\u2003', '\u3000', '\u200b', '\x00', '\x01', '\x7f', '\xad', '\ufffd', '\ue000', '']


def character(r):
    while True:
        c = chr(r.randint(*r.choice(RANGES)))
        if unicodedata.category(c) != 'Cn':  # tables of another version may know it
            return c


def make_text(r):
    text = ''
    for _ in range(r.randint(0, 12)):
        run = [(0x61, 0x7A)] if r.random() < 0.5 else [r.choice(RANGES)]
        n = r.choice([1, 2, 3, 5, 8, 12] * 6 + [99, 100, 101])
        text += ''.join(character(r) if r.random() < 0.1 else chr(r.randint(*run[0])) for _ in range(n)) + r.choice(BETWEEN)
    return ''.join(c for c in text if unicodedata.category(c) != 'Cn')


def make_tokens(r, seen):
    letters = sorted({c for w in seen for c in w})
    tokens = [c for c in letters if r.random() < 0.95] + ['##' + c for c in letters if r.random() < 0.95]
    for w in seen:
        if len(w) > 1:
            a, b = sorted(r.sample(range(len(w) + 1), 2))
            tokens.append(('##' if a else '') + w[a:b])
    return SPECIAL + sorted(set(tokens) - set(SPECIAL))


def main():
    r = random.Random(20)
    for form in range(16):
        how = [bool(form >> i & 1) for i in range(4)]
        texts = [make_text(r) for _ in range(60)]
        split = [list(words(normal(t, *how))) for t in texts]
        tokens = make_tokens(r, [w for s in split for w in s])
        ids = {t: i for i, t in enumerate(tokens)}
        cases = [[t.encode().hex(), [i for w in s for i in pieces(w, ids)]] for t, s in zip(texts, split)]
        print(json.dumps(dict(zip(('lower', 'strip', 'clean', 'han'), how), tokens=[t.encode().hex() for t in tokens], cases=cases)))


if __name__ == '__main__':
    main()
