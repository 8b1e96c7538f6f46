/* glossary.h - the invented language Velu: words and their English forms.
 *
 * Grammar (family/translate.c applies it): the verb comes first, then who does it, then to whom; adjectives follow
 * the noun; -ri makes a plural, except after a number; -ta makes the past; nek before the verb negates; -nu on the
 * last noun says where; su joins two sentences. There is no article. The shape of a word tells its class (noun
 * CVCV, verb CVCan, adjective CVCik, number CVC), so no word with an ending is another word.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_GLOSSARY_H
#define MOA_TASK_GLOSSARY_H

typedef struct moa_lexeme {
    const char *en;      /* cat; see; red; three */
    const char *en2;     /* irregular plural or third person; NULL: by rule */
    const char *past;    /* verbs */
    char velu[8];
} moa_lexeme;

typedef enum moa_word_class { MOA_NOUN, MOA_VERB, MOA_ADJECTIVE, MOA_NUMBER, MOA_SPOT /* nouns that are places */ } moa_word_class;
const moa_lexeme *moa_glossary(moa_word_class c, int *n);

#endif
