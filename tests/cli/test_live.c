/* test_live.c - frames of the terminal view: never wider or higher than the terminal, nothing that steers it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "cli/live.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

static int columns(const char *s, size_t n) {
    int w = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += (size_t)moa_utf8_next(&cp, s + i, n - i);
        assert_true(cp >= 0x20); /* no control character came through */
        w += utf8proc_charwidth((utf8proc_int32_t)cp);
    }
    return w;
}

/* Random rows at random sizes: height and width hold for every line, and `used` tells the truth. */
static void test_bounds(void **state) {
    (void)state;
    static const char *const bits[] = {"word ", "\n", "\xE6\xBC\xA2\xE5\xAD\x97", "\x1b[2J", "e\xCC\x81", "\xF0\x9F\x98\x80", "\xFF\xFE", "\t", "Answer: 42", "\r"};
    moa_rng r;
    moa_rng_seed(&r, 4);
    for (int round = 0; round < 3000; round++) {
        moa_live_row row[30];
        char text[30][400];
        int n = moa_rng_range(&r, 0, 30), width = moa_rng_range(&r, 1, 100), height = moa_rng_range(&r, 1, 40), used[64];
        for (int i = 0; i < n; i++) {
            text[i][0] = 0;
            for (int k = moa_rng_range(&r, 0, 20); k > 0; k--) strncat(text[i], bits[moa_rng_below(&r, 10)], 20);
            row[i] = (moa_live_row){i % 3 ? "p1" : "p12.345678901234567890", moa_rng_range(&r, 0, 3), text[i], strlen(text[i]),
                                    moa_rng_range(&r, -1, 100000), moa_rng_f64(&r) * 1e4};
        }
        moa_buf b;
        moa_buf_init(&b, 1 << 20);
        int lines = moa_live_frame(&b, used, row, n, width, height, (moa_live_style){false, round % 2, round});
        assert_true(lines <= height && lines <= n + 1);
        assert_true(lines == (n <= height ? n : height));
        const char *p = moa_buf_str(&b);
        for (int i = 0; i < lines; i++) {
            size_t len = strcspn(p, "\n");
            int w = columns(p, len);
            assert_true(w <= width);
            assert_int_equal(w, used[i]);
            p += len + (p[len] == '\n');
        }
        assert_true(*p == 0);
        moa_buf_deinit(&b);
    }
}

static void test_picture(void **state) {
    (void)state;
    moa_live_row row[3] = {{"p1", 2, "It is 17 + 25.\nAnswer: 42", 25, 12, 0.4},
                           {"p2", 1, "a long text whose beginning does not fit into the row any more, the end does", 76, 0, 0},
                           {"vote", 2, "took p1: 2 of 2 answers agree", 29, -1, 0}};
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    moa_live_frame(&b, NULL, row, 3, 50, 10, (moa_live_style){false, false, 0});
    assert_string_equal(moa_buf_str(&b), "+ p1     12 tok   0.4 s  It is 17 + 25. Answer: 42\n"
                                         "| p2    <t fit into the row any more, the end does\n"
                                         "+ vote  took p1: 2 of 2 answers agree");
    moa_buf_clear(&b);
    /* Three rows in two lines: the running one stays. */
    moa_live_frame(&b, NULL, row, 3, 30, 2, (moa_live_style){false, false, 1});
    assert_string_equal(moa_buf_str(&b), "/ p2    <ny more, the end does\n  and 2 more");
    moa_buf_clear(&b);
    moa_live_frame(&b, NULL, row, 1, 60, 2, (moa_live_style){true, true, 1});
    assert_non_null(strstr(moa_buf_str(&b), "\x1b[32m\xE2\x9C\x93"));
    moa_buf_deinit(&b);
}

static void test_terminal_text(void **state) {
    (void)state;
    char *out;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    static const char in[] = "a\x1b]0;title\x07\tb\n\xC2\x9B" "2J\xE6\xBC\xA2\r";
    moa_term_write(f, in, sizeof in - 1);
    fclose(f);
    assert_string_equal(out, "a]0;title\tb\n2J\xE6\xBC\xA2");
    free(out);
}

/* ---- the answer as it grows, on a terminal ---- */

typedef struct terminal { int master, kept, fd; char text[8192]; } terminal;

static void terminal_open(terminal *t, int fd) {
    fflush(NULL);
    t->fd = fd;
    t->kept = dup(fd);
    t->master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(t->master >= 0 && grantpt(t->master) == 0 && unlockpt(t->master) == 0);
    int slave = open(ptsname(t->master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    dup2(slave, fd);
    close(slave);
}

static void terminal_close(terminal *t) {
    fflush(NULL);
    size_t n = 0;
    fcntl(t->master, F_SETFL, O_NONBLOCK);
    for (ssize_t k; n + 1 < sizeof t->text && (k = read(t->master, t->text + n, sizeof t->text - 1 - n)) > 0;) n += (size_t)k;
    t->text[n] = 0;
    dup2(t->kept, t->fd);
    close(t->kept);
    close(t->master);
}

/* A redrawn line never wraps: on 20 columns it ends before the last, in the middle of nothing. */
static void test_status(void **state) {
    (void)state;
    static const struct { const char *line, *shown; } cases[] = {
        {"17/300 items", "\r17/300 items\x1b[K"},
        {"17/300 items  4 s, 1:20 left  single 50.0 %", "\r17/300 items  4 s, \x1b[K"},
        {"\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2", /* 11 of two columns */
         "\r\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2\x1b[K"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static terminal t;
        const struct winsize size = {.ws_row = 10, .ws_col = 20};
        terminal_open(&t, 2);
        assert_int_equal(ioctl(2, TIOCSWINSZ, &size), 0);
        moa_term_status(cases[i].line);
        terminal_close(&t);
        assert_string_equal(t.text, cases[i].shown);
    }
}

/* An aggregator's reply in pieces; returns what the caller still has to print. */
static bool streamed(terminal *out, terminal *view, const char *reply, size_t piece, int n_in, bool quiet) {
    static moa_backend be;
    moa_agent_node node = {.name = "agg", .role = "aggregator", .backend = &be, .n_in = n_in, .state = MOA_NODE_RUNNING};
    moa_run r = {.node = &node, .n_node = 1};
    const moa_live_cfg cfg = {.quiet = quiet, .stream_answer = true};
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    terminal_open(out, 1);
    terminal_open(view, 2);
    moa_live *l = moa_live_new(&cfg);
    moa_event e = {.kind = MOA_EV_START};
    moa_live_event(l, &r, &e);
    e.kind = MOA_EV_TEXT;
    for (size_t at = 0, n = strlen(reply); at < n; at += piece) {
        e.text = reply + at;
        e.n = n - at < piece ? n - at : piece;
        moa_live_event(l, &r, &e);
    }
    node.state = MOA_NODE_DONE;
    e = (moa_event){.kind = MOA_EV_DONE};
    moa_live_event(l, &r, &e);
    const bool whole = moa_live_end(l, &r);
    moa_live_free(l);
    terminal_close(view);
    terminal_close(out);
    return whole;
}

/* The line of what the replies say goes to the view, whatever the pieces it comes in; the answer alone to stdout. */
static void test_stream(void **state) {
    (void)state;
    terminal out, view;
    for (size_t piece = 1; piece < 40; piece++) {
        assert_true(streamed(&out, &view, "Replies say: 4 | 5\nSo it is 4.\nAnswer: 4", piece, 2, false));
        assert_string_equal(out.text, "So it is 4.\r\nAnswer: 4\r\n");
        assert_non_null(strstr(view.text, "\x1b[2mReplies say: 4 | 5\x1b[0m\r\n"));
        assert_true(streamed(&out, &view, "Replies say: 4 | 5\nFour.", piece, 2, true));
        assert_string_equal(out.text, "Four.\r\n");
        assert_string_equal(view.text, "");
        assert_true(streamed(&out, &view, "Replies sound alike.", piece, 2, false));
        assert_string_equal(out.text, "Replies sound alike.\r\n");
        assert_true(streamed(&out, &view, "Replies say: so be it", piece, 0, false)); /* it read none: a user's own words */
        assert_string_equal(out.text, "Replies say: so be it\r\n");
        assert_false(streamed(&out, &view, "Replies say: 4", piece, 2, false)); /* nothing else came: the caller prints it */
        assert_string_equal(out.text, "");
        assert_false(streamed(&out, &view, "Repl", piece, 2, false));
        assert_string_equal(out.text, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_picture), cmocka_unit_test(test_terminal_text),
                                       cmocka_unit_test(test_stream), cmocka_unit_test(test_status)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
