# moa - GNU make. Read from top to bottom: what is built, from what, with which flags; then checks, install.
#   make            the program, the library
#   make run        answer a question with the bundled model
#   make check      every test        (make SAN=address,undefined check: under sanitizers)
# Variables: CC, CFLAGS, BUILD (folder), SAN, PARTS (layers to build), WERROR=1
CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
AR      ?= ar
BUILD   ?= build$(if $(SAN),-san)
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
PARTS   ?= base tensor format task mix model train agent cli
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion $(if $(WERROR),-Werror)
SANF    := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
# Contraction of a*b+c would make results depend on the compiler's mood: every FMA in moa is written out.
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -Iinclude -Isrc -ffp-contract=off -fopenmp -MMD -MP $(WARN) $(SANF) $(ISA) $(CFLAGS)
LIBS    := -ldnnl -ljansson -lcyaml -lpcre2-8 -lutf8proc -lm
LDALL    = -fopenmp $(SANF) $(LDFLAGS)

SRC     := $(foreach p,$(PARTS),$(shell find src/$(p) -name '*.c' 2>/dev/null))
LIB_SRC := $(filter-out src/cli/%,$(SRC))
CLI_SRC := $(filter src/cli/%,$(SRC))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(foreach p,$(PARTS),$(wildcard tests/$(p)/test_*.c)))
TEST_SUP := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))

all: $(BUILD)/moa $(BUILD)/libmoa.a

$(BUILD)/moa: $(CLI_OBJ) $(BUILD)/libmoa.a
	$(CC) $(LDALL) -o $@ $^ $(LIBS)
$(BUILD)/libmoa.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

# The flags of an instruction set belong to its folder.
$(BUILD)/src/tensor/kernels/avx2/%.o:   ISA := -mavx2 -mfma -mf16c
$(BUILD)/src/tensor/kernels/avx512/%.o: ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(TEST_SUP) $(BUILD)/libmoa.a
	$(CC) $(LDALL) -o $@ $^ -lcmocka $(LIBS)
tests: $(TESTS)
check: $(TESTS)
	@for t in $(TESTS); do echo "== $$t"; $$t || exit 1; done

clean:
	rm -rf $(BUILD)
.PHONY: all tests check clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
