/* The text of numbers, and what else the kernels need of a machine: 128-bit products, vector instructions.

   Every writer puts its text at `p` and returns its end; it may store up to 32 bytes behind that.

   Floats get the shortest decimal that reads back to the same bits, found as in Raffaele Giulietti, "The Schubfach way
   to render doubles" (2020), and laid out as Python's repr does it. */

#ifndef COLLECTORD_ENCODE_NUMBERS_H
#define COLLECTORD_ENCODE_NUMBERS_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(COLLECTORD_PORTABLE)
#define COLLECTORD_SSE2
#include <emmintrin.h>
#endif

namespace collectord {

typedef unsigned __int128 uint128;

enum {
    LEAST_POWER = -293,
    POWERS = 618,
    SHORTEST = 0, /* modes of a column of floats: they change the speed, never the text */
    INTEGRAL = 1
};

/* A number of 1152 bits, for making the table below. */
struct Big {
    enum { WORDS = 36 };
    uint32_t words[WORDS] = {}; /* the lowest first */

    constexpr void multiply(uint32_t factor) {
        uint64_t carry = 0;
        for (uint32_t &word : words) {
            carry += (uint64_t)word * factor;
            word = (uint32_t)carry;
            carry >>= 32;
        }
    }
    constexpr void divide(uint32_t divisor) {
        uint64_t rest = 0;
        for (int i = WORDS - 1; i >= 0; i--) {
            rest = rest << 32 | words[i];
            words[i] = (uint32_t)(rest / divisor);
            rest %= divisor;
        }
    }
    constexpr int length() const {
        int top = WORDS - 1;
        while (words[top] == 0) top--;
        return 32 * (top + 1) - __builtin_clz(words[top]);
    }
    /* 32 bits from bit `first` on, which may be negative: there are zeros. */
    constexpr uint64_t word_at(int first) const {
        int place = (first + 32 * WORDS) / 32 - WORDS, shift = first - 32 * place;
        uint64_t low = place >= 0 ? words[place] : 0, high = place >= -1 && place + 1 < WORDS ? words[place + 1] : 0;
        return (uint32_t)((high << 32 | low) >> shift);
    }
    constexpr uint64_t bits(int first) const { return word_at(first + 32) << 32 | word_at(first); }
    /* Whether any bit below `end` is set. */
    constexpr bool any(int end) const {
        for (int i = 0; 32 * i < end; i++)
            if (words[i] << (end < 32 * (i + 1) ? 32 * (i + 1) - end : 0)) return true;
        return false;
    }
};

/* Powers of ten from LEAST_POWER on, scaled to 128 bits and rounded up, the high half first. The compiler makes it. */
struct Powers {
    uint64_t halves[2 * POWERS] = {};

    constexpr Powers() {
        Big up, down; /* 5**i, and 2**1151 / 5**i, cut: a power of two more or less is a matter of scale */
        up.words[0] = 1;
        down.words[Big::WORDS - 1] = 0x80000000u;
        for (int i = 0; i < POWERS + LEAST_POWER; i++, up.multiply(5)) set(i, up, false);
        for (int i = 1; i <= -LEAST_POWER; i++) {
            down.divide(5);
            set(-i, down, true);
        }
    }
    constexpr void set(int power, const Big &number, bool more) {
        int first = number.length() - 128;
        uint64_t *pair = halves + 2 * (power - LEAST_POWER);
        pair[1] = number.bits(first) + (more || number.any(first));
        pair[0] = number.bits(first + 64) + (pair[1] == 0 && (more || number.any(first)));
    }
};

static constexpr Powers POWERS_OF_TEN;

static const uint64_t TEN[20] = {1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u,
    10000000000u, 100000000000u, 1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u,
    100000000000000000u, 1000000000000000000u, 10000000000000000000u};
static const uint64_t ZEROS = 0x3030303030303030u;

template <typename T> static inline T load(const char *p) {
    T value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* Puts a word into memory so that its lowest byte comes first, on every machine. */
static inline void store_word(char *p, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(p, &word, 8);
}

/* ------------------------------------------------------------ integers */

/* The 8 decimal digits of x < 10**8, one per byte, the first in the lowest byte. */
static inline uint64_t eight_digits(uint32_t x) {
    uint64_t pairs = x / 10000;
    pairs |= (uint64_t)(x - (uint32_t)pairs * 10000) << 32;
    uint64_t upper = ((pairs * 10486) >> 20) & 0x7F0000007Fu;
    uint64_t hundreds = ((pairs - 100 * upper) << 16) + upper;
    uint64_t tens = ((hundreds * 103) >> 10) & 0x000F000F000F000Fu;
    return tens + ((hundreds - 10 * tens) << 8);
}

static inline void store_eight_digits(char *p, uint32_t x) { store_word(p, eight_digits(x) | ZEROS); }

static inline char *write_unsigned(char *p, uint64_t x) {
    if (x >= 100000000) {
        uint64_t rest = x / 100000000;
        p = write_unsigned(p, rest);
        store_eight_digits(p, (uint32_t)(x - rest * 100000000));
        return p + 8;
    }
    uint64_t digits = eight_digits((uint32_t)x);
    int skip = __builtin_ctzll(digits | (uint64_t)1 << 56) & ~7;
    store_word(p, (digits | ZEROS) >> skip);
    return p + 8 - (skip >> 3);
}

static inline char *write_signed(char *p, int64_t x) {
    uint64_t negative = -(uint64_t)(x < 0);
    *p = '-';
    return write_unsigned(p + (x < 0), ((uint64_t)x ^ negative) - negative);
}

/* ------------------------------------------------------------ shortest decimals */

struct Decimal {
    uint64_t digits; /* may end in zeros */
    int exponent;
};

/* Schubfach's rounding to odd: the whole part, its last bit set if there is a fraction worth the name. */
static inline uint64_t odd(uint128 x) { return (uint64_t)(x >> 64) | ((uint64_t)x > 1); }
static inline uint64_t odd_short(uint64_t x) { return x >> 32 | ((uint32_t)x > 1); }

/* A power of ten times 2**shift, without its lowest 64 bits. 0 < shift < 64. */
static inline uint128 shifted(const uint64_t *power, int shift) {
    return (uint128)(power[0] >> (64 - shift)) << 64 | (power[0] << shift | power[1] >> (64 - shift));
}

/* The ends of the rounding interval and, between them, the value: factor - 2 (- 1 if lopsided), factor and factor + 2, all
   times 2**h and the power of ten. There is one product: the ends lie 2 (or 1) times the power beside it. */
static inline void interval(const uint64_t *power, uint64_t factor, int h, bool lopsided, uint64_t *ends) {
    uint128 lower = (uint128)power[1] * (factor << h);
    uint128 value = (uint128)power[0] * (factor << h) + (uint64_t)(lower >> 64);
    uint64_t rest = (uint64_t)lower, half_rest = power[1] << (h + 1);
    ends[1] = odd(value);
    ends[2] = odd(value + shifted(power, h + 1) + (rest + half_rest < rest));
    h += !lopsided;
    ends[0] = odd(value - shifted(power, h) - (rest < power[1] << h));
}

/* The same for float32, where 64 bits of the power and 32 of the fraction are enough. */
static inline void interval_short(uint64_t power, uint64_t factor, int h, bool lopsided, uint64_t *ends) {
    uint128 product = (uint128)power * (factor << h);
    uint64_t value = (uint64_t)(product >> 64) << 32 | (uint64_t)product >> 32, rest = (uint32_t)product;
    ends[1] = odd_short(value);
    ends[2] = odd_short(value + (power >> (31 - h)) + ((rest + (uint32_t)(power << (h + 1))) >> 32));
    h += !lopsided;
    ends[0] = odd_short(value - (power >> (32 - h)) - (rest < (uint32_t)(power << h)));
}

/* The shortest decimal that reads back as c * 2**q, the nearest of these; lopsided: the neighbour below is nearer.

   With the names of the paper. c is below 2**53, or 2**24 for Short. Whether one digit less is enough is a toss-up, which
   no branch predictor likes: both answers are made and one is kept. */
template <bool Short> static inline Decimal shortest(uint64_t c, int q, bool lopsided) {
    int k = (q * 1262611 - (lopsided ? 524031 : 0)) >> 22; /* floor(log10(2**q)), or of 3/4 of that */
    int h = q + ((-k * 1741647) >> 19) + 1;                /* q + floor(log2(10**-k)) + 1 */
    const uint64_t *power = POWERS_OF_TEN.halves + 2 * (-k - LEAST_POWER);
    uint64_t ends[3];
    if (Short)
        interval_short(power[0] + (power[1] != 0), 4 * c, h, lopsided, ends);
    else
        interval(power, 4 * c, h, lopsided, ends);
    ends[0] += c & 1; /* the ends themselves belong to even c */
    ends[2] -= c & 1;
    uint64_t s = ends[1] >> 2, tens = s / 10;
    uint64_t below = ends[0] <= 4 * s, above = 4 * s + 4 <= ends[2], nearest = (ends[1] & 3) + (s & 1) > 2;
    uint64_t longer = s + (nearest ^ ((nearest ^ above) & (below ^ above)));
    below = ends[0] <= 40 * tens;
    above = 40 * tens + 40 <= ends[2];
    uint64_t shorter = 10 * (tens + above), fewer = (below ^ above) & (s >= 10);
    return {longer ^ ((longer ^ shorter) & -fewer), k};
}

/* Digits (at most 9 for Short, else 17) and exponent in the layout of Python's repr. All of 17 digits are stored, straight
   from registers (loading what was just stored would stall), and then cut. */
template <bool Short> static __attribute__((noinline)) char *write_decimal(char *p, Decimal decimal) {
    uint64_t digits = decimal.digits, upper, lower = 0;
    int count;
    if (!Short && digits >= TEN[15]) {
        count = 16 + (digits >= TEN[16]);
    } else if (Short && digits >= TEN[6]) {
        count = 7 + (digits >= TEN[7]) + (digits >= TEN[8]);
    } else {
        count = ((64 - __builtin_clzll(digits)) * 1233) >> 12;
        count += digits >= TEN[count];
    }
    int point = decimal.exponent + count - 1; /* of the first digit */
    if (Short || count <= 9) {
        upper = digits * TEN[9 - count];
    } else {
        digits *= TEN[17 - count];
        upper = digits / 100000000;
        lower = eight_digits((uint32_t)(digits - upper * 100000000));
    }
    uint64_t first = upper / 100000000;
    upper = eight_digits((uint32_t)(upper - first * 100000000));
    int used = lower ? 17 - (__builtin_clzll(lower) >> 3) : upper ? 9 - (__builtin_clzll(upper) >> 3) : 1;
    char digit = (char)('0' + first);
    upper |= ZEROS;
    lower |= ZEROS;
    if (-4 <= point && point <= 0) {
        store_word(p, 0x3030303030302E30u); /* 0.000000 */
        p[(1 - point) & -(point < 0)] = digit;
        p += 2 - point;
        store_word(p, upper);
        store_word(p + 8, lower);
        return p + used - 1 + ((point == 0) & (used == 1));
    }
    if (0 < point && point < 16) {
        *p = digit;
        store_word(p + 1, upper);
        if (point < 8) {
            store_word(p + point + 2, upper >> 8 * point | lower << (64 - 8 * point));
            store_word(p + point + 10, lower >> 8 * point);
        } else {
            store_word(p + 9, lower);
            store_word(p + point + 2, lower >> 8 * (point - 8));
        }
        p[point + 1] = '.';
        if (used > point + 1) return p + used + 1;
        p[point + 2] = '0';
        return p + point + 3;
    }
    *p++ = digit;
    if (used > 1) {
        *p = '.';
        store_word(p + 1, upper);
        store_word(p + 9, lower);
        p += used;
    }
    *p++ = 'e';
    *p++ = point < 0 ? '-' : '+';
    if (point < 0) point = -point;
    if (point >= 100) *p++ = (char)('0' + point / 100);
    *p++ = (char)('0' + point / 10 % 10);
    *p++ = (char)('0' + point % 10);
    return p;
}

/* NaN (written without a sign), infinity, zero. */
static inline char *write_unusual(char *p, bool negative, bool infinite, bool zero) {
    *p = '-';
    p += negative && (infinite || zero);
    memcpy(p, infinite ? "Inf" : zero ? "0.0" : "NaN", 3);
    return p + 3;
}

/* Whether x >= 0 has no decimals, and repr writes it as such. */
static inline bool is_integral(double x) { return x < 1e15 && (double)(int64_t)x == x; }

static inline char *write_integral(char *p, double x) {
    p = write_unsigned(p, (uint64_t)(int64_t)x);
    memcpy(p, ".0", 2);
    return p + 2;
}

/* ------------------------------------------------------------ the common floats

   Nearly every float needs no exact answer to the paper's questions. With 10**(k-1) <= 2**q < 10**k, at most one multiple of
   10**k lies between the ends of the rounding interval: if there is one, it is the shortest decimal, else the nearest
   multiple of 10**(k-1) is. The value is therefore taken as a whole number and a fraction of 10**k, the fraction in 64
   bits, and with it half the interval. Both are a little wrong; where that might matter (exact ties do it, others once in
   billions) the answer is left to `shortest`. So are subnormals and powers of two, whose interval is lopsided. */

/* Of a decimal whose first digit stands for 10**point: how the text begins, and where the digits go. */
struct Layout {
    uint64_t before; /* a mask of those of the first 8 digits that stay where they are: before the point */
    uint64_t text;   /* what is not a digit */
    int shift;       /* bits by which the others move */
    int at;          /* bytes */
    int least;       /* digits that must be shown */
};

enum { FIRST_POINT = -4, LAST_POINT = 6 };

static const Layout layouts[LAST_POINT - FIRST_POINT + 1] = {
    {0, 0x3030302E30, 40, 5, 1},
    {0, 0x30302E30, 32, 4, 1},
    {0, 0x302E30, 24, 3, 1},
    {0, 0x2E30, 16, 2, 1},
    {0xFF, 0x2E00, 8, 1, 2},
    {0xFFFF, 0x2E0000, 8, 1, 3},
    {0xFFFFFF, 0x2E000000, 8, 1, 4},
    {0xFFFFFFFF, 0x2E00000000, 8, 1, 5},
    {0xFFFFFFFFFF, 0x2E0000000000, 8, 1, 6},
    {0xFFFFFFFFFFFF, 0x2E000000000000, 8, 1, 7},
    {0xFFFFFFFFFFFFFF, 0x2E00000000000000, 8, 1, 8},
};

/* The 16 digits of x < 10**16 in text, and one more, are stored at p. Returns how many it takes to keep all but zeros;
   *first gets the first eight. */
static inline int store_digits(char *p, uint64_t x, uint32_t last, uint64_t *first) {
    uint32_t upper = (uint32_t)(x / 100000000), lower = (uint32_t)(x - (uint64_t)upper * 100000000);
    p[16] = (char)('0' + last);
#if defined(COLLECTORD_SSE2)
    /* As eight_digits, both halves at once. */
    __m128i digits = _mm_unpacklo_epi64(_mm_cvtsi32_si128((int)upper), _mm_cvtsi32_si128((int)lower));
    __m128i tens = _mm_srli_epi64(_mm_mul_epu32(digits, _mm_set1_epi32((int)0xD1B71759)), 45);
    digits = _mm_or_si128(_mm_slli_epi64(_mm_sub_epi32(digits, _mm_mul_epu32(tens, _mm_set1_epi32(10000))), 32), tens);
    tens = _mm_srli_epi16(_mm_mulhi_epu16(digits, _mm_set1_epi16(5243)), 3);
    digits = _mm_or_si128(_mm_slli_epi32(_mm_sub_epi16(digits, _mm_madd_epi16(tens, _mm_set1_epi32(100))), 16), tens);
    tens = _mm_srli_epi16(_mm_mullo_epi16(digits, _mm_set1_epi16(103)), 10);
    digits = _mm_sub_epi16(_mm_slli_epi16(digits, 8), _mm_mullo_epi16(tens, _mm_set1_epi16(2559)));
    uint32_t shown = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(digits, _mm_setzero_si128())) | (uint32_t)(last != 0) << 16;
    digits = _mm_or_si128(digits, _mm_set1_epi8('0'));
    _mm_storeu_si128((__m128i *)p, digits);
    *first = (uint64_t)_mm_cvtsi128_si64(digits);
    return 32 - __builtin_clz(shown);
#else
    uint64_t head = eight_digits(upper), tail = eight_digits(lower);
    *first = head | ZEROS;
    store_word(p, head | ZEROS);
    store_word(p + 8, tail | ZEROS);
    return last ? 17 : tail ? 16 - (__builtin_clzll(tail) >> 3) : 8 - (__builtin_clzll(head) >> 3);
#endif
}

/* The same for x < 10**8. */
static inline int store_digits(char *p, uint32_t x, uint32_t last, uint64_t *first) {
    uint64_t digits = eight_digits(x);
    p[8] = (char)('0' + last);
    *first = digits | ZEROS;
    store_word(p, *first);
    return last ? 9 : 8 - (__builtin_clzll(digits) >> 3);
}

/* `digits`, as many as the type has, and one more, the first standing for 10**point. */
template <typename T> static inline char *lay_out(char *p, T digits, uint32_t last, int point) {
    const Layout *layout = layouts + (point - FIRST_POINT);
    uint64_t first;
    int used = store_digits(p + layout->at, digits, last, &first);
    store_word(p, (first & layout->before) | (first & ~layout->before) << layout->shift | layout->text);
    return p + (used > layout->least ? used : layout->least) + layout->at;
}

/* Finds how many 10**k the shortest decimal has, and how many 10**(k-1) besides. False if that cannot be told.

   The value is `whole` and `fraction`, the interval reaches `half` to both sides; fraction and half are in units of 10**k / 2**64
   and wrong by no more than `error` of them. */
static inline bool nearest(uint64_t *whole, uint64_t fraction, uint64_t half, uint64_t error, uint32_t *digit) {
    uint128 tenfold = (uint128)fraction * 10;
    uint64_t rest = (uint64_t)tenfold;
    if (__builtin_expect((fraction - half + 2 * error <= 4 * error) | (fraction + half + 2 * error <= 4 * error) |
                             (rest - ((uint64_t)1 << 63) + 16 * error <= 32 * error), 0))
        return false;
    uint32_t above = fraction > ~half, below = fraction < half;
    *whole += above;
    *digit = ((uint32_t)(tenfold >> 64) + (uint32_t)(rest >> 63)) & ((above | below) - 1);
    return true;
}

template <bool Short> static __attribute__((noinline)) char *write_hard(char *p, uint64_t c, int q, bool lopsided) {
    return write_decimal<Short>(p, shortest<Short>(c, q, lopsided));
}

static inline char *write_float64(char *p, uint64_t bits, int mode) {
    bool negative = bits >> 63;
    uint64_t magnitude = bits & ~((uint64_t)1 << 63), hidden = (uint64_t)1 << 52, fraction = bits & (hidden - 1);
    int exponent = (int)(magnitude >> 52);
    if (exponent == 2047 || magnitude == 0) return write_unusual(p, negative, exponent && !fraction, magnitude == 0);
    *p = '-';
    p += negative;
    double x = load<double>((const char *)&magnitude);
    if (mode == INTEGRAL && is_integral(x)) return write_integral(p, x);
    if (exponent == 0) return write_hard<false>(p, fraction, -1074, false);
    uint64_t c = fraction | hidden;
    int q = exponent - 1075;
    if (fraction == 0) return write_hard<false>(p, c, q, exponent > 1);
    int k = (q * 1262611 >> 22) + 1;
    const uint64_t *power = POWERS_OF_TEN.halves + 2 * (-k - LEAST_POWER);
    int shift = -(q + (-k * 1741647 >> 19) + 1);
    uint64_t unit = power[0] >> shift, below = power[0] << 1 << (63 - shift) | power[1] >> shift;
    uint128 product = (uint128)unit * c + (uint64_t)((uint128)below * c >> 64);
    uint64_t whole = (uint64_t)(product >> 64);
    uint32_t digit;
    if (!nearest(&whole, (uint64_t)product, unit >> 1, 1, &digit)) return write_hard<false>(p, c, q, false);
    uint64_t less = whole < TEN[15];
    int point = k + 15 - (int)less;
    if (point < FIRST_POINT || point > LAST_POINT) return write_decimal<false>(p, {10 * whole + digit, k - 1});
    return lay_out(p, whole + ((9 * whole + digit) & -less), digit & ((uint32_t)less - 1), point);
}

static inline char *write_float32(char *p, uint32_t bits, int mode) {
    bool negative = bits >> 31;
    uint32_t magnitude = bits & ~((uint32_t)1 << 31), hidden = (uint32_t)1 << 23, fraction = bits & (hidden - 1);
    int exponent = (int)(magnitude >> 23);
    if (exponent == 255 || magnitude == 0) return write_unusual(p, negative, exponent && !fraction, magnitude == 0);
    *p = '-';
    p += negative;
    /* Above 2**24 not every whole number is a float, and its shortest text ends in zeros. */
    float x = load<float>((const char *)&magnitude);
    if (mode == INTEGRAL && x < 16777216.0f && is_integral(x)) return write_integral(p, x);
    /* 7.038531e-26 read as a double lies halfway between two float32 and would then be rounded to the other one. */
    if (magnitude == 0x15AE43FD) return write_decimal<true>(p, {70385307, -33});
    if (exponent == 0) return write_hard<true>(p, fraction, -149, false);
    uint32_t c = fraction | hidden;
    int q = exponent - 150;
    if (fraction == 0) return write_hard<true>(p, c, q, exponent > 1);
    int k = (q * 1262611 >> 22) + 1;
    uint64_t unit = POWERS_OF_TEN.halves[2 * (-k - LEAST_POWER)] >> -(q + (-k * 1741647 >> 19) + 1);
    uint128 product = (uint128)unit * c;
    uint64_t whole = (uint64_t)(product >> 64);
    uint32_t digit;
    if (!nearest(&whole, (uint64_t)product, unit >> 1, 1 << 25, &digit)) return write_hard<true>(p, c, q, false);
    int missing = (whole < TEN[7]) + (whole < TEN[6]);
    uint32_t digits = (uint32_t)((10 * whole + digit) * TEN[missing]);
    int point = k + 7 - missing;
    if (point < FIRST_POINT || point > LAST_POINT) return write_decimal<true>(p, {digits, k - 1 - missing});
    return lay_out(p, digits / 10, digits % 10, point);
}

static inline char *write_float16(char *p, uint16_t bits) {
    bool negative = bits >> 15;
    uint16_t magnitude = bits & 0x7FFF, fraction = bits & 1023;
    int exponent = magnitude >> 10;
    if (exponent == 31 || magnitude == 0) return write_unusual(p, negative, exponent && !fraction, magnitude == 0);
    *p = '-';
    p += negative;
    if (exponent == 0) return write_decimal<false>(p, shortest<false>(fraction, -24, false));
    return write_decimal<false>(p, shortest<false>(fraction | 1024u, exponent - 25, fraction == 0 && exponent > 1));
}

/* The mode that a sample of `count` values suggests, each `step` values behind the other. */
template <typename T> static int guess_mode(const char *values, int64_t step, int64_t count) {
    int64_t stride = count / 8 > 1 ? count / 8 : 1;
    int misses = 0;
    for (int64_t i = 0; i < count && misses < 2; i += stride) {
        T x = load<T>(values + i * step * (int64_t)sizeof(T));
        misses += x == x && !is_integral(x < 0 ? -x : x);
    }
    return misses == 0 || (misses == 1 && count >= 4) ? INTEGRAL : SHORTEST;
}

/* ------------------------------------------------------------ uuid and text */

/* 16 bytes as 36 characters. */
static inline char *write_uuid(char *p, const char *bytes) {
    char digits[32];
#if defined(COLLECTORD_SSE2)
    const __m128i mask = _mm_set1_epi8(15), nine = _mm_set1_epi8(9), zero = _mm_set1_epi8('0'), gap = _mm_set1_epi8('a' - '0' - 10);
    __m128i value = _mm_loadu_si128((const __m128i *)bytes);
    __m128i high = _mm_and_si128(_mm_srli_epi16(value, 4), mask), low = _mm_and_si128(value, mask);
    high = _mm_add_epi8(_mm_add_epi8(high, zero), _mm_and_si128(_mm_cmpgt_epi8(high, nine), gap));
    low = _mm_add_epi8(_mm_add_epi8(low, zero), _mm_and_si128(_mm_cmpgt_epi8(low, nine), gap));
    _mm_storeu_si128((__m128i *)digits, _mm_unpacklo_epi8(high, low));
    _mm_storeu_si128((__m128i *)(digits + 16), _mm_unpackhi_epi8(high, low));
#else
    for (int i = 0; i < 16; i++) {
        digits[2 * i] = "0123456789abcdef"[(uint8_t)bytes[i] >> 4];
        digits[2 * i + 1] = "0123456789abcdef"[(uint8_t)bytes[i] & 15];
    }
#endif
    memcpy(p, digits, 8);
    memcpy(p + 9, digits + 8, 4);
    memcpy(p + 14, digits + 12, 4);
    memcpy(p + 19, digits + 16, 4);
    memcpy(p + 24, digits + 20, 12);
    p[8] = p[13] = p[18] = p[23] = '-';
    return p + 36;
}

#if defined(COLLECTORD_SSE2)
/* Every one of n < 16 bytes at least once, in whatever order, and nothing else but zeros. Reads nothing behind them. */
static inline __m128i few_bytes(const char *p, int64_t n) {
    if (n >= 8) return _mm_set_epi64x(load<int64_t>(p + n - 8), load<int64_t>(p));
    if (n >= 4) return _mm_set_epi32(0, 0, load<int32_t>(p + n - 4), load<int32_t>(p));
    return n > 0 ? _mm_cvtsi32_si128((uint8_t)p[0] | (uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1] << 16) : _mm_setzero_si128();
}

static inline bool any_special(__m128i bytes) {
    __m128i quotes = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(',')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')));
    __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')));
    return _mm_movemask_epi8(_mm_or_si128(quotes, ends)) != 0;
}
#endif

/* Whether any of n bytes makes a field need quotes. Reads nothing behind them. */
static inline bool any_special(const char *p, int64_t n) {
#if defined(COLLECTORD_SSE2)
    if (n < 16) return any_special(few_bytes(p, n));
    for (int64_t i = 0; i + 16 <= n; i += 16)
        if (any_special(_mm_loadu_si128((const __m128i *)(p + i)))) return true;
    return any_special(_mm_loadu_si128((const __m128i *)(p + n - 16)));
#else
    for (int64_t i = 0; i < n; i++)
        if (p[i] == ',' || p[i] == '"' || p[i] == '\n' || p[i] == '\r') return true;
    return false;
#endif
}

/* Copies n bytes and reads nothing behind them; short texts without a call. */
static inline char *copy_text(char *out, const char *p, int64_t n) {
    if (n > 32) {
        memcpy(out, p, (size_t)n);
    } else if (n > 16) {
        memcpy(out, p, 16);
        memcpy(out + n - 16, p + n - 16, 16);
    } else if (n >= 8) {
        uint64_t head = load<uint64_t>(p), tail = load<uint64_t>(p + n - 8);
        memcpy(out, &head, 8);
        memcpy(out + n - 8, &tail, 8);
    } else if (n >= 4) {
        uint32_t head = load<uint32_t>(p), tail = load<uint32_t>(p + n - 4);
        memcpy(out, &head, 4);
        memcpy(out + n - 4, &tail, 4);
    } else if (n > 0) {
        out[0] = p[0];
        out[n / 2] = p[n / 2];
        out[n - 1] = p[n - 1];
    }
    return out + n;
}

/* Copies n bytes, doubling quotes. Reads nothing behind them. */
static inline char *copy_doubling_quotes(char *out, const char *p, int64_t n) {
    int64_t i = 0;
#if defined(COLLECTORD_SSE2)
    const __m128i quote = _mm_set1_epi8('"');
    while (i + 16 <= n) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(p + i));
        int hits = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, quote));
        int step = hits ? __builtin_ctz(hits) + 1 : 16;
        _mm_storeu_si128((__m128i *)out, bytes);
        out += step;
        i += step;
        if (hits) *out++ = '"';
    }
    if (!_mm_movemask_epi8(_mm_cmpeq_epi8(few_bytes(p + i, n - i), quote))) return copy_text(out, p + i, n - i);
#endif
    for (; i < n; i++) {
        *out++ = p[i];
        if (p[i] == '"') *out++ = '"';
    }
    return out;
}

} // namespace collectord

#endif
