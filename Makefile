# moa - GNU make. Read from top to bottom: what is built, from what, with which flags; then tests, install.
#   make              the program and the library
#   make run          answer a question with the bundled model (MSG="..." for your own)
#   make check        every test; make SAN=address,undefined check: under sanitizers; make deps-ui: npm packages that some want
#   make bench-serve  programs that measure the server (bench/serve/run.py)
#   make fuzz-gguf    libFuzzer on one target (clang); make format; make graphs (pictures of docs/agents); make install PREFIX=...
# Variables: CC, CFLAGS, BUILD (folder), SAN, PREFIX, WERROR=1, PARTS (layers to build), V=1 (show whole commands)
ifeq ($(origin CC),default)
CC      := gcc
endif
AR      ?= ar
BUILD   ?= build$(if $(SAN),-san)
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
LAYERS  := base tensor format mix model adapt task train agent fetch serve cli
PARTS   ?= $(LAYERS)
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion $(if $(WERROR),-Werror)
SANF    := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
# Contraction of a*b+c would make results depend on the compiler's mood: every FMA in moa is written out.
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -Iinclude -Isrc -fPIC -fvisibility=hidden \
             -ffp-contract=off -fno-math-errno -fopenmp -MMD -MP $(WARN) $(SANF) $(CFLAGS) $(ISA) $(OPT)
LIBS    := -ldnnl -ljansson -lcyaml -lyaml -lpcre2-8 -lutf8proc -lsqlite3 -lm
LDALL    = -fopenmp $(SANF) $(LDFLAGS)
VERSION := $(shell sed -nE 's/^\#define MOA_VERSION "(.*)"/\1/p' include/moa.h)
Q       := $(if $(V),,@)
comma   := ,
MSG     ?= Tom has 12 apples. He buys 9 more and gives 4 to Anna. How many apples does Tom have now?

SRC     := $(foreach p,$(PARTS),$(shell find src/$(p) -name '*.c' 2>/dev/null | sort))
LIB_SRC := $(filter-out src/cli/% src/fetch/% src/serve/%,$(SRC))
CLI_SRC := $(filter src/cli/%,$(SRC))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
# Downloads and the server belong to the program: the library needs neither libcurl nor libmicrohttpd.
FETCH_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter src/fetch/%,$(SRC)))
SERVE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(filter src/serve/%,$(SRC)))
FETCH   := $(if $(SERVE_OBJ),$(BUILD)/libserve.a) $(if $(FETCH_OBJ),$(BUILD)/libfetch.a)
CURL    := $(if $(FETCH_OBJ),-Wl$(comma)--as-needed -lcurl) $(if $(SERVE_OBJ),-lmicrohttpd)
# Tests and fuzz targets that include no layer which is left out.
ABSENT  := $(subst $() ,|,none $(filter-out $(PARTS),$(LAYERS)))
built    = $(sort $(if $(1),$(shell grep -LE '^.include "($(ABSENT))/' $(1))))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(call built,$(foreach p,$(PARTS),$(wildcard tests/$(p)/test_*.c))))
FUZZ    := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(call built,$(wildcard tests/fuzz/fuzz_*.c)))
# The guard stands over malloc in every test; of the other helpers a test takes what it names, so that a test of a low layer
# does not need the layers above it.
GUARD   := tests/support/guard_malloc.c
HELPERS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(GUARD),$(wildcard tests/support/*.c)))
TEST_SUP := $(GUARD:%.c=$(BUILD)/%.o) $(BUILD)/libtest.a

all: $(BUILD)/moa $(BUILD)/libmoa.a $(BUILD)/libmoa.so

run: $(BUILD)/moa
	$(BUILD)/moa run "$(MSG)"

$(BUILD)/moa: $(CLI_OBJ) $(FETCH) $(BUILD)/libmoa.a
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -o $@ $^ $(LIBS) $(CURL)
$(BUILD)/libfetch.a: $(FETCH_OBJ)
	@rm -f $@
	$(if $(V),,@echo "  AR  $@")
	$(Q)$(AR) rcs $@ $^
$(BUILD)/libserve.a: $(SERVE_OBJ)
	@rm -f $@
	$(if $(V),,@echo "  AR  $@")
	$(Q)$(AR) rcs $@ $^
$(BUILD)/libmoa.a: $(LIB_OBJ)
	@rm -f $@
	$(if $(V),,@echo "  AR  $@")
	$(Q)$(AR) rcs $@ $^
$(BUILD)/libmoa.so: $(LIB_OBJ)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -shared -Wl,-soname,libmoa.so.0 -o $@ $^ $(LIBS)

# ---- objects ----------------------------------------------------------------------------------------------------
# The flags of an instruction set belong to its folder.
$(BUILD)/src/tensor/kernels/avx2/%.o:   private ISA := -mavx2 -mfma -mf16c
$(BUILD)/src/tensor/kernels/avx2/%_avxvnni.o: private ISA := -mavx2 -mfma -mf16c -mavxvnni
$(BUILD)/src/tensor/kernels/avx512/%.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c
$(BUILD)/src/tensor/kernels/amx/%.o: private ISA := -mamx-tile -mamx-int8 -mamx-bf16 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c
$(BUILD)/tests/support/amx_emulated.o: private OPT := -O3
$(BUILD)/tests/support/amx_emulated.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mavx2 -mfma -mf16c
# The training kernels are plain loops, so the compiler is told to vectorise and unroll them fully.
$(BUILD)/src/tensor/kernels/ref/train_%.o:    private OPT := -O3
$(BUILD)/src/tensor/kernels/avx2/train_%.o:   private OPT := -O3
$(BUILD)/src/tensor/kernels/avx512/train_%.o: private OPT := -O3 -mprefer-vector-width=512
# Tiles of attention must unroll into registers.
$(BUILD)/src/tensor/kernels/avx2/attn_%.o:    private OPT := -O3
$(BUILD)/src/tensor/kernels/avx512/attn_%.o:  private OPT := -O3 -mprefer-vector-width=512
$(BUILD)/%.o: %.c $(BUILD)/flags | $(BUILD)/deps
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Where the installed models lie concerns one file, so that make install PREFIX=... builds one file again.
$(BUILD)/src/cli/paths.o: $(BUILD)/prefix
$(BUILD)/src/cli/paths.o: private OPT := -DMOA_DATADIR='"$(PREFIX)/share/moa"'
$(BUILD)/prefix: FORCE
	@mkdir -p $(BUILD)
	@printf '%s\n' "$(PREFIX)" | cmp -s - $@ || printf '%s\n' "$(PREFIX)" >$@

# The page of moa serve is part of the program: ui.c takes the files of its folder as they are.
$(BUILD)/src/serve/ui.o: $(wildcard src/serve/ui/*)

# Other flags or another compiler: everything is built again.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@printf '%s\n' "$(CC) $(subst ",,$(ALL_CFLAGS))" | cmp -s - $@ || printf '%s\n' "$(CC) $(subst ",,$(ALL_CFLAGS))" >$@
# Missing packages are installed (Debian) or listed (elsewhere).
$(BUILD)/deps: scripts/deps.sh
	@mkdir -p $(BUILD)
	@CC="$(CC)" SAN="$(SAN)" scripts/deps.sh build
	@touch $@
$(BUILD)/deps-check: scripts/deps.sh
	@mkdir -p $(BUILD)
	@CC="$(CC)" SAN="$(SAN)" scripts/deps.sh check
	@touch $@

# ---- tests ------------------------------------------------------------------------------------------------------
$(BUILD)/tests/%.o: tests/%.c $(BUILD)/flags | $(BUILD)/deps-check
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -c -o $@ $<
$(BUILD)/libtest.a: $(HELPERS)
	@rm -f $@
	$(if $(V),,@echo "  AR  $@")
	$(Q)$(AR) rcs $@ $^
$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/driver.o $(FETCH) $(BUILD)/libmoa.a
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -o $@ $^ $(LIBS) $(CURL)
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(TEST_SUP) $(FETCH) $(BUILD)/libmoa.a
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -o $@ $^ -lcmocka $(LIBS) $(CURL)
$(BUILD)/tests/cli/%: $(BUILD)/tests/cli/%.o $(TEST_SUP) $(filter-out %/main.o,$(CLI_OBJ)) $(FETCH) $(BUILD)/libmoa.a
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -o $@ $^ -lcmocka $(LIBS) $(CURL)

# Programs of measurements; bench/serve/run.py runs those of the server.
bench-serve: $(BUILD)/moa $(BUILD)/bench/serve/load $(BUILD)/bench/serve/mock
$(BUILD)/bench/%.o: bench/%.c $(BUILD)/flags | $(BUILD)/deps-check
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -c -o $@ $<
$(BUILD)/bench/agents/%: $(BUILD)/bench/agents/%.o $(BUILD)/libmoa.a
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -o $@ $^ $(LIBS)
$(BUILD)/bench/serve/%: $(BUILD)/bench/serve/%.o $(BUILD)/tests/support/mock.o $(BUILD)/libmoa.a
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(LDALL) -o $@ $^ $(LIBS)

tests: $(TESTS) $(FUZZ)
lint:
	@scripts/check_layers.sh && scripts/check_registry.sh && scripts/check_style.sh && echo "lint: layers, registries and style are in order"
# What drives the program from outside: shell and node. Each skips itself, with a reason, where what it needs is missing.
OUTSIDE := $(if $(SERVE_OBJ),$(wildcard tests/*/test_*.sh))
check: lint all tests
	@MOA=$(BUILD)/moa scripts/run_tests.sh $(TESTS) $(FUZZ) $(OUTSIDE)

# The npm packages of the tests: the page's driver and the SDKs that are tried against the server. Chromium is the system's.
deps-ui: $(addsuffix /node_modules,tests/ui tests/clients)
%/node_modules: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

# libFuzzer over a saved corpus: make fuzz-gguf CC=clang BUILD=build-fuzz SAN=address,undefined,fuzzer-no-link
fuzz-%: $(BUILD)/tests/fuzz/fuzz_%.o $(FETCH) $(BUILD)/libmoa.a
	$(CC) $(LDALL) -fsanitize=fuzzer,address,undefined -o $(BUILD)/libfuzzer-$* $^ $(LIBS) $(CURL)
	@mkdir -p $(BUILD)/corpus-$*
	$(BUILD)/libfuzzer-$* -max_total_time=60 -max_len=65536 $(BUILD)/corpus-$* tests/fuzz/corpus/$*

# The pictures of docs/agents, anew.
graphs: $(BUILD)/moa
	scripts/graphs.sh $(BUILD)/moa

format:
	clang-format -i $(shell find include src tests bench -name '*.[ch]')

# ---- install ----------------------------------------------------------------------------------------------------
$(BUILD)/moa.1: $(BUILD)/moa scripts/man.sh
	scripts/man.sh $(BUILD)/moa >$@
$(BUILD)/moa.pc: moa.pc.in $(BUILD)/prefix
	sed 's,@PREFIX@,$(PREFIX),; s,@VERSION@,$(VERSION),' $< >$@
install: all $(BUILD)/moa.1 $(BUILD)/moa.pc
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/pkgconfig include share/man/man1 share/moa/models)
	install -m 755 $(BUILD)/moa $(DESTDIR)$(PREFIX)/bin/moa
	install -m 644 $(BUILD)/libmoa.a $(DESTDIR)$(PREFIX)/lib/libmoa.a
	install -m 755 $(BUILD)/libmoa.so $(DESTDIR)$(PREFIX)/lib/libmoa.so.0
	ln -sf libmoa.so.0 $(DESTDIR)$(PREFIX)/lib/libmoa.so
	install -m 644 include/moa.h $(DESTDIR)$(PREFIX)/include/moa.h
	install -m 644 $(BUILD)/moa.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/moa.pc
	install -m 644 $(BUILD)/moa.1 $(DESTDIR)$(PREFIX)/share/man/man1/moa.1
	$(if $(wildcard models/*.gguf),install -m 644 $(wildcard models/*.gguf) $(DESTDIR)$(PREFIX)/share/moa/models/)
uninstall:
	cd $(DESTDIR)$(PREFIX) && rm -f bin/moa lib/libmoa.a lib/libmoa.so lib/libmoa.so.0 include/moa.h lib/pkgconfig/moa.pc share/man/man1/moa.1
	rm -rf $(DESTDIR)$(PREFIX)/share/moa

clean:
	rm -rf $(BUILD)
FORCE:
.PHONY: all run tests graphs bench-serve lint check deps-ui format install uninstall clean FORCE
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
