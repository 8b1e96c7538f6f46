/* ui.c - see ui.h. The assembler puts each file into the program's constants: nothing is generated, nothing is parsed, and a file that
 * changes is one object to assemble again (Makefile). SPDX-License-Identifier: Apache-2.0 */
#include "serve/ui.h"

#define PAGE(id, file, type)                                                                                                                   \
    __asm__(".section .rodata\n.balign 16\n.globl moa_ui_" #id "\n.hidden moa_ui_" #id "\nmoa_ui_" #id ":\n.incbin \"src/serve/ui/" file "\"\n" \
            ".globl moa_ui_" #id "_end\n.hidden moa_ui_" #id "_end\nmoa_ui_" #id "_end:\n.byte 0\n.text\n");                                    \
    extern const char moa_ui_##id[], moa_ui_##id##_end[];
#include "serve/ui.def"
#undef PAGE

static const moa_ui_file files[] = {
#define PAGE(id, file, type) {file, type, moa_ui_##id, moa_ui_##id##_end},
#include "serve/ui.def"
#undef PAGE
};

const moa_ui_file *moa_ui_files(int *n) {
    *n = (int)(sizeof files / sizeof *files);
    return files;
}
