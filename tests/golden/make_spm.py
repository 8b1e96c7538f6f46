# SPDX-License-Identifier: Apache-2.0
"""make_spm.py - small SentencePiece models and what SentencePiece itself makes of texts, as saved in spm/.

    python3 make_spm.py FOLDER     NAME.model for every model, golden.jsonl with lines {"model", "text", "ids"}

Needs Debian's python3-sentencepiece (0.1.97). The texts that the models learn are made up here, by seed.
"""
import io
import json
import os
import random
import sys

import sentencepiece

NAMES = 'Anna Bert Clara Dora Emil Frida Georg Hanna'.split()
VERBS = 'sees finds carries paints sells forgets measures answers'.split()
THINGS = 'a red apple,an old map,two clocks,the long letter,seven keys,his brother\'s boat,a cup of tea,the whole garden'.split(',')
WHERE = ['in the tower', 'near the river', 'under a bridge', 'at 7:30', 'on page 12', 'in M\u00fcnchen', 'beim B\u00e4cker', '\u6771\u4eac\u3067',
         '\u043d\u0430 \u043c\u043e\u0441\u0442\u0443', 'with\ta\ttab', 'for (i = 0; i < 10; i++)  {', 'x  =  y;']


def sentences(n, seed):
    r = random.Random(seed)
    return ['%s %s %s %s.' % (r.choice(NAMES), r.choice(VERBS), r.choice(THINGS), r.choice(WHERE)) for _ in range(n)]


# The map of characters: one line a rule, code points in, a tab, code points out.
RULES = ['FB01\t66 69', 'A0\t20', '9\t20', '3000\t20', '41\t61', 'C4\tE4', 'FDFA\t73 20 74', '200B\t', '2581\t20']

COMMON = dict(character_coverage=1.0, num_threads=1, hard_vocab_limit=False, minloglevel=2, input_sentence_size=0)
MODELS = {
    'bpe-bytes': dict(model_type='bpe', vocab_size=560, byte_fallback=True, normalization_rule_name='identity', remove_extra_whitespaces=False,
                      control_symbols=['<ctl>']),
    'bpe-no-prefix': dict(model_type='bpe', vocab_size=600, byte_fallback=True, normalization_rule_name='identity', remove_extra_whitespaces=False,
                          add_dummy_prefix=False, split_by_whitespace=False, user_defined_symbols=['<sep>', '\u2581\u2581', '\u2581\u2581\u2581\u2581'],
                          pad_id=0, eos_id=1, bos_id=2, unk_id=3),
    'bpe-map': dict(model_type='bpe', vocab_size=300, character_coverage=0.98),
    'unigram-map': dict(model_type='unigram', vocab_size=300, character_coverage=0.98, pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
    'unigram-bytes': dict(model_type='unigram', vocab_size=560, byte_fallback=True, normalization_rule_name='identity', remove_extra_whitespaces=False),
}

TEXTS = ['', ' ', '  ', 'a', ' a', 'a ', '  a  b  ', 'Anna', 'anna sees', 'Anna  sees   two clocks.', '\n', 'x\ny\n\nz', '\t', 'a\tb', 'a\u00a0b', 'a\u3000 b',
         '\ufb01nds', 'of\ufb01ce \ufb01', '\u2581', 'a\u2581b', 'a \u2581 b', 'a\u2581', '\u2581a', '\ufdfa', 'a\u200bb', '\u200b', ' \u200b a', '\u00c4pfel \u00c4', '\U0001f999', 'a\U0001f999\U0001f999b',
         '\U0001f999 \U0001f999', '\u6771\u4eac\u3067 two', '\u65e5\u672c', 'na\u00efve', 'nai\u0308ve', '0123456789', '7:30 12', 'for (i = 0; i < 10; i++)  {\n    x  =  y;\n}',
         'AAAAAAAAAAAAAAAA', 'abababababababab', 'the the the', "his brother's", '...!?', '<s>', '</s>', '<unk>', '<ctl>', 'a<s>b', '<0x41>', '<0x0A>', 'zzzzqqqqzzzz',
         '\u043d\u0430 \u043c\u043e\u0441\u0442\u0443', '\u043f\u0440\u0438\u0432\u0435\u0442', '\u0000'[:0] + 'end']
# Tokens of the file's own that stand in a text: SentencePiece puts no space behind them, so they are tried where none is put anywhere.
USER = ['a<sep>b', '<sep>', ' <sep> ', 'x  y', 'x   y', 'x    y', 'x     y', '<sep><sep>Anna', '<se', 'sep>']


def random_texts(n, seed):
    r, parts = random.Random(seed), NAMES + VERBS + THINGS + WHERE + [' ', '  ', '\n', '\u00a0', '\ufb01', 'q', 'Z', '\u00e9', '\u6f22', '\U0001f680', '.', ',']
    return [''.join(r.choice(parts) + r.choice(['', ' ', '']) for _ in range(r.randint(1, 9))) for _ in range(n)]


def main(folder):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)  # the models remember the name of the rules
    rules = 'rules.tsv'
    with open(rules, 'w') as f:
        f.write('\n'.join(RULES) + '\n')
    with open('golden.jsonl', 'w') as out:
        for i, (name, how) in enumerate(MODELS.items()):
            if 'normalization_rule_name' not in how:
                how = dict(how, normalization_rule_tsv=rules)
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences(1500, 5)), model_writer=model, **{**COMMON, **how})
            with open(name + '.model', 'wb') as f:
                f.write(model.getvalue())
            p = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
            for text in TEXTS + (USER if 'user_defined_symbols' in how else []) + random_texts(60, 100 + i):
                json.dump({'model': name, 'text': text, 'ids': p.encode(text)}, out)
                out.write('\n')
            print(name, p.get_piece_size(), 'pieces', len(model.getvalue()), 'bytes')
    os.remove(rules)


if __name__ == '__main__':
    main(sys.argv[1])
