/* glossary.h - the invented language Velu: words and their English forms.
 *
 * Grammar (family/translate.c applies it): the verb comes first, then who does it, then to whom; adjectives follow
 * the noun; -ri makes a plural, except after a number; -ta makes the past; nek before the verb negates; -nu on the
 * last noun says where; su joins two sentences. There is no article. The shape of a word tells its class (noun
 * CVCV, verb CVCan, adjective CVCik, number CVC), so no word with an ending is another word.
 * Velu counts in eights: words for 1 to 7, for eight and for sixty-four; 405 is "six sixty-four two eight five", joined by
 * hyphens, a one before eight or sixty-four left out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_GLOSSARY_H
#define MOA_TASK_GLOSSARY_H

typedef struct moa_lexeme {
    const char *en;      /* cat; see; red; 3 */
    const char *en2;     /* irregular plural or third person; NULL: by rule */
    const char *past;    /* verbs */
    char velu[8];
} moa_lexeme;

typedef enum moa_word_class { MOA_NOUN, MOA_VERB, MOA_ADJECTIVE, MOA_NUMBER /* in order: 1 to 7, 8, 64 */, MOA_SPOT /* nouns that are places */ } moa_word_class;
const moa_lexeme *moa_glossary(moa_word_class c, int *n);

#endif
