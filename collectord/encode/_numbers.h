/* The text of numbers, and what else the CSV kernel needs of a machine: 128-bit products, vector instructions.

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
    LEAST_POWER = -292,
    POWERS = 617,
    SHORTEST = 255, /* mode of a float column without a cheaper way */
    MOST_DECIMALS = 4
};

/* Powers of ten from LEAST_POWER on, scaled to 128 bits and rounded up, the high half first. Filled when the kernel is loaded. */
static uint64_t powers[2 * POWERS];

static const uint64_t TEN[20] = {1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u,
    10000000000u, 100000000000u, 1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u, 10000000000000000u,
    100000000000000000u, 1000000000000000000u, 10000000000000000000u};
static const double TEN_DOUBLE[MOST_DECIMALS + 1] = {1, 10, 100, 1000, 10000};
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
    const uint64_t *power = powers + 2 * (-k - LEAST_POWER);
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
template <bool Short> static inline char *write_decimal(char *p, Decimal decimal) {
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

/* ------------------------------------------------------------ floats

   A mode is the number of decimals to try first, or SHORTEST. It changes the speed, never the text. */

/* NaN (written without a sign), infinity, zero. */
static inline char *write_unusual(char *p, bool negative, bool infinite, bool zero) {
    *p = '-';
    p += negative && (infinite || zero);
    memcpy(p, infinite ? "Inf" : zero ? "0.0" : "NaN", 3);
    return p + 3;
}

/* Whether x >= 0 has at most `decimals` decimals; then *scaled is x times 10**decimals.

   True only if the division gives back x itself. It is rounded correctly, so the text reads back as x, and with no more
   than 15 digits no other text as short does. */
static inline bool few_decimals(double x, int decimals, uint64_t *scaled) {
    double product = x * TEN_DOUBLE[decimals];
    if (!(product < 1e15)) return false;
    *scaled = (uint64_t)(product + 0.5);
    return (double)*scaled / TEN_DOUBLE[decimals] == x;
}

/* The same for 6 digits of a float32. A quotient of such numbers is far from halfway between two float32, so that rounding
   it twice does no harm. */
static inline bool few_decimals(float x, int decimals, uint64_t *scaled) {
    if (!(x < 1e6f)) return false;
    *scaled = (uint64_t)((double)x * TEN_DOUBLE[decimals] + 0.5);
    return *scaled < 1000000 && (float)((double)*scaled / TEN_DOUBLE[decimals]) == x;
}

static inline char *write_few_decimals(char *p, uint64_t scaled, int decimals) {
    if (decimals == 0) {
        p = write_unsigned(p, scaled);
        memcpy(p, ".0", 2);
        return p + 2;
    }
    uint64_t whole = scaled / TEN[decimals];
    uint64_t digits = eight_digits((uint32_t)((scaled - whole * TEN[decimals]) * TEN[8 - decimals]));
    p = write_unsigned(p, whole);
    *p++ = '.';
    store_word(p, digits | ZEROS);
    return p + 8 - (__builtin_clzll(digits | 1) >> 3);
}

static inline char *write_float64(char *p, uint64_t bits, int mode) {
    bool negative = bits >> 63;
    uint64_t magnitude = bits & ~((uint64_t)1 << 63), hidden = (uint64_t)1 << 52, fraction = bits & (hidden - 1), scaled;
    int exponent = (int)(magnitude >> 52);
    if (exponent == 2047 || magnitude == 0) return write_unusual(p, negative, exponent && !fraction, magnitude == 0);
    *p = '-';
    p += negative;
    if (mode != SHORTEST && few_decimals(load<double>((const char *)&magnitude), mode, &scaled))
        return write_few_decimals(p, scaled, mode);
    if (exponent == 0) return write_decimal<false>(p, shortest<false>(fraction, -1074, false));
    return write_decimal<false>(p, shortest<false>(fraction | hidden, exponent - 1075, fraction == 0 && exponent > 1));
}

static inline char *write_float32(char *p, uint32_t bits, int mode) {
    bool negative = bits >> 31;
    uint32_t magnitude = bits & ~((uint32_t)1 << 31), hidden = (uint32_t)1 << 23, fraction = bits & (hidden - 1);
    uint64_t scaled;
    int exponent = (int)(magnitude >> 23);
    if (exponent == 255 || magnitude == 0) return write_unusual(p, negative, exponent && !fraction, magnitude == 0);
    *p = '-';
    p += negative;
    if (mode != SHORTEST && few_decimals(load<float>((const char *)&magnitude), mode, &scaled))
        return write_few_decimals(p, scaled, mode);
    /* 7.038531e-26 read as a double lies halfway between two float32 and would then be rounded to the other one. */
    if (magnitude == 0x15AE43FD) return write_decimal<true>(p, {70385307, -33});
    if (exponent == 0) return write_decimal<true>(p, shortest<true>(fraction, -149, false));
    return write_decimal<true>(p, shortest<true>(fraction | hidden, exponent - 150, fraction == 0 && exponent > 1));
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
    for (int decimals = 0; decimals <= MOST_DECIMALS; decimals++) {
        int misses = 0;
        for (int64_t i = 0; i < count && misses < 2; i += stride) {
            T x = load<T>(values + i * step * (int64_t)sizeof(T));
            uint64_t scaled;
            misses += x == x && !few_decimals(x < 0 ? -x : x, decimals, &scaled);
        }
        if (misses == 0 || (misses == 1 && count >= 4)) return decimals;
    }
    return SHORTEST;
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

/* Whether any of n bytes makes a field need quotes. Reads nothing behind them. */
static inline bool any_special(const char *p, int64_t n) {
    int64_t i = 0;
#if defined(COLLECTORD_SSE2)
    const __m128i comma = _mm_set1_epi8(','), quote = _mm_set1_epi8('"'), lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r');
    for (; i + 16 <= n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(p + i));
        __m128i hits = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, comma), _mm_cmpeq_epi8(bytes, quote)),
                                    _mm_or_si128(_mm_cmpeq_epi8(bytes, lf), _mm_cmpeq_epi8(bytes, cr)));
        if (_mm_movemask_epi8(hits)) return true;
    }
#endif
    for (; i < n; i++)
        if (p[i] == ',' || p[i] == '"' || p[i] == '\n' || p[i] == '\r') return true;
    return false;
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
#endif
    for (; i < n; i++) {
        *out++ = p[i];
        if (p[i] == '"') *out++ = '"';
    }
    return out;
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

} // namespace collectord

#endif
