/* steps.c - see steps.h. SPDX-License-Identifier: Apache-2.0 */
#include "task/steps.h"

static const char *const place_name[] = {"Units", "Tens", "Hundreds", "Thousands", "Ten thousands"};

void moa_steps_equation(moa_buf *out, long long a, char op, long long b, long long c) {
    moa_gen_int(out, a);
    moa_buf_add(out, &op, 1);
    moa_gen_int(out, b);
    moa_buf_adds(out, "=");
    moa_gen_int(out, c);
}

static int length(int n) {
    int k = 1;
    while (n >= 10) n /= 10, k++;
    return k;
}

/* Parts of n by place, largest first: 307 -> 300, 7. */
static int parts(int *out, int n) {
    int k = 0, scale = 1;
    while (n / scale >= 10) scale *= 10;
    for (; scale; scale /= 10)
        if (n / scale % 10) out[k++] = n / scale % 10 * scale;
    if (!k) out[k++] = 0;
    return k;
}

/* Add up v[0..n-1] one after the other: "500+120=620, 620+12=632". */
static int running_sum(moa_buf *out, const int *v, int n) {
    int sum = v[0];
    for (int i = 1; i < n; i++) {
        if (i > 1) moa_buf_adds(out, ", ");
        moa_steps_equation(out, sum, '+', v[i], sum + v[i]);
        sum += v[i];
    }
    return sum;
}

/* "Units: 7+5=12, carry 1. Tens: 4+8+1=13, carry 1. Hundreds: 3+2+1=6." or the same with what to write down. */
static void add_columns(moa_buf *out, int a, int b, bool named) {
    int n = length(a > b ? a : b), carry = 0;
    for (int i = 0; i < n; i++, a /= 10, b /= 10) {
        int s = a % 10 + b % 10 + carry;
        if (named) moa_buf_addf(out, "%s%s: ", i ? " " : "", place_name[i]);
        else if (i) moa_buf_adds(out, "; ");
        moa_gen_int(out, a % 10);
        moa_buf_adds(out, "+");
        moa_gen_int(out, b % 10);
        if (carry) moa_buf_adds(out, "+1");
        moa_buf_adds(out, "=");
        moa_gen_int(out, s);
        carry = i + 1 < n ? s / 10 : 0;
        if (!named) moa_buf_addf(out, ", write %d", i + 1 < n ? s % 10 : s);
        if (carry) moa_buf_adds(out, ", carry 1");
        if (named) moa_buf_adds(out, ".");
    }
    if (!named) moa_buf_adds(out, ".");
}

/* "300+200=500, 40+80=120, 7+5=12. 500+120=620, 620+12=632." */
static void add_places(moa_buf *out, int a, int b) {
    int n = length(a > b ? a : b), sum[8], k = 0, scale = 1;
    for (int i = 1; i < n; i++) scale *= 10;
    for (; scale; scale /= 10) {
        int x = a / scale % 10 * scale, y = b / scale % 10 * scale;
        if (x + y == 0) continue;
        if (k) moa_buf_adds(out, ", ");
        moa_steps_equation(out, x, '+', y, x + y);
        sum[k++] = x + y;
    }
    moa_buf_adds(out, ".");
    if (k > 1) {
        moa_buf_adds(out, " ");
        running_sum(out, sum, k);
        moa_buf_adds(out, ".");
    }
}

void moa_steps_add(moa_buf *out, int a, int b, moa_rng *r) {
    bool swap = moa_gen_chance(r, 15);
    if (swap) {
        int t = a;
        a = b;
        b = t;
    }
    int method = (int)moa_rng_below(r, 3);
    if (length(a) == 1 && length(b) == 1) {
        moa_steps_equation(out, a, '+', b, a + b);
        moa_buf_adds(out, ".");
    } else if (method == 2 && a + b > 0) {
        add_places(out, a, b);
    } else {
        add_columns(out, a, b, method == 0);
    }
}

/* "Units: 12-5=7, borrow 1. Tens: 13-1-8=4, borrow 1. Hundreds: 5-1-2=2." */
static void sub_columns(moa_buf *out, int a, int b, bool named) {
    int n = length(a), borrow = 0;
    for (int i = 0; i < n; i++, a /= 10, b /= 10) {
        int d = a % 10 - borrow - b % 10, up = d < 0;
        if (named) moa_buf_addf(out, "%s%s: ", i ? " " : "", place_name[i]);
        else if (i) moa_buf_adds(out, "; ");
        moa_gen_int(out, a % 10 + 10 * up);
        if (borrow) moa_buf_adds(out, "-1");
        moa_buf_adds(out, "-");
        moa_gen_int(out, b % 10);
        moa_buf_adds(out, "=");
        moa_gen_int(out, d + 10 * up);
        if (!named) moa_buf_addf(out, ", write %d", d + 10 * up);
        if (up) moa_buf_adds(out, ", borrow 1");
        if (named) moa_buf_adds(out, ".");
        borrow = up;
    }
    if (!named) moa_buf_adds(out, ".");
}

/* "532-200=332, 332-80=252, 252-5=247." */
static void sub_places(moa_buf *out, int a, int b) {
    int part[8], n = parts(part, b);
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(out, ", ");
        moa_steps_equation(out, a, '-', part[i], a - part[i]);
        a -= part[i];
    }
    moa_buf_adds(out, ".");
}

void moa_steps_sub(moa_buf *out, int a, int b, moa_rng *r) {
    int method = (int)moa_rng_below(r, 3);
    if (length(b) == 1 && a < 20) {
        moa_steps_equation(out, a, '-', b, a - b);
        moa_buf_adds(out, ".");
    } else if (method == 2) {
        sub_places(out, a, b);
    } else {
        sub_columns(out, a, b, method == 0);
    }
}

/* "300*7=2100, 40*7=280, 5*7=35": the products of the places of a, left in part[]. */
static int products(moa_buf *out, int *part, int a, int d) {
    int n = parts(part, a);
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(out, ", ");
        moa_steps_equation(out, part[i], '*', d, part[i] * d);
        part[i] *= d;
    }
    return n;
}

/* a times one digit by places: "300*7=2100, 40*7=280, 5*7=35. 2100+280=2380, 2380+35=2415." */
static void mul_places(moa_buf *out, int a, int d) {
    int part[8], n = products(out, part, a, d);
    moa_buf_adds(out, ".");
    if (n > 1) {
        moa_buf_adds(out, " ");
        running_sum(out, part, n);
        moa_buf_adds(out, ".");
    }
}

/* a times one digit from the right: "5*7=35, write 5, carry 3; 4*7+3=31, write 1, carry 3; 3*7+3=24, write 24." */
static void mul_columns(moa_buf *out, int a, int d) {
    int carry = 0;
    for (int i = 0; a || i == 0; i++, a /= 10) {
        int p = a % 10 * d + carry;
        if (i) moa_buf_adds(out, "; ");
        moa_gen_int(out, a % 10);
        moa_buf_adds(out, "*");
        moa_gen_int(out, d);
        if (carry) moa_buf_adds(out, "+"), moa_gen_int(out, carry);
        moa_buf_addf(out, "=%d, write %d", p, a >= 10 ? p % 10 : p);
        carry = a >= 10 ? p / 10 : 0;
        if (carry) moa_buf_addf(out, ", carry %d", carry);
    }
    moa_buf_adds(out, ".");
}

/* Both of two digits or more: the products of each digit of b, then their sum: "700*8=5600, 20*8=160, so
 * 720*80=57600. 700*4=2800, 20*4=80, so 720*4=2880. 57600+2880=60480."; brief: without the products of single digits. */
static void mul_long(moa_buf *out, int a, int b, bool up, bool brief) {
    int part[8], unused[8], n = parts(part, b), sum[8];
    for (int k = 0; k < n; k++) {
        int i = up ? n - 1 - k : k, zeros = 1;
        while (part[i] / zeros >= 10) zeros *= 10;
        if (k) moa_buf_adds(out, " ");
        int shown = brief ? 0 : products(out, unused, a, part[i] / zeros);
        if (brief || shown > 1 || zeros > 1) {
            if (!brief) moa_buf_adds(out, ", so ");
            moa_steps_equation(out, a, '*', part[i], a * part[i]);
        }
        moa_buf_adds(out, ".");
        sum[k] = a * part[i];
    }
    if (n > 1) {
        moa_buf_adds(out, " ");
        running_sum(out, sum, n);
        moa_buf_adds(out, ".");
    }
}

void moa_steps_mul(moa_buf *out, int a, int b, moa_rng *r) {
    if (b > a) {
        int t = a;
        a = b;
        b = t;
    }
    bool other = moa_gen_chance(r, 40);
    if (length(a) == 1) {
        moa_steps_equation(out, a, '*', b, a * b);
        moa_buf_adds(out, ".");
    } else if (length(b) > 1) {
        mul_long(out, a, b, other, moa_gen_chance(r, a < 100 ? 20 : 40));
    } else if (other) {
        mul_columns(out, a, b);
    } else {
        mul_places(out, a, b);
    }
}
