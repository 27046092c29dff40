/* Values of a record batch as text of JSON (RFC 8259), the memory that lines of it grow in, and whether a text is an object that
   may stand in a line as it is.

   Texts are the UTF-8 that they claim to be; that is not looked at here. Writers put their text at `p`, return its end, and may
   store up to 32 bytes behind that. */

#ifndef COLLECTORD_ENCODE_JSON_H
#define COLLECTORD_ENCODE_JSON_H

#include <stdlib.h>

#include "_fields.h"

namespace collectord {

static inline bool needs_escape(uint8_t c) { return c < 32 || c == '"' || c == '\\'; }

#if defined(COLLECTORD_SSE2)
/* A bit for each byte that needs an escape. */
static inline int escapes(__m128i bytes) {
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(31)), bytes);
    __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
    return _mm_movemask_epi8(_mm_or_si128(control, marks));
}
#endif

/* At most 6 bytes. */
static inline char *write_escape(char *p, uint8_t c) {
    *p++ = '\\';
    switch (c) {
    case '\n': *p++ = 'n'; break;
    case '\r': *p++ = 'r'; break;
    case '\t': *p++ = 't'; break;
    case '\b': *p++ = 'b'; break;
    case '\f': *p++ = 'f'; break;
    default:
        if (c >= 32) {
            *p++ = (char)c;
            break;
        }
        memcpy(p, "u00", 3);
        p[3] = (char)('0' + (c >> 4));
        p[4] = "0123456789abcdef"[c & 15];
        p += 5;
    }
    return p;
}

/* As between quotes: the shortest escapes there are, and none where none is needed. Reads nothing behind the text. */
static inline char *write_escaped(char *p, const char *text, int64_t n) {
    int64_t i = 0;
#if defined(COLLECTORD_SSE2)
    while (i + 16 <= n) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(text + i));
        int hits = escapes(bytes);
        int clean = hits ? __builtin_ctz(hits) : 16;
        _mm_storeu_si128((__m128i *)p, bytes);
        p += clean;
        i += clean;
        if (hits) p = write_escape(p, (uint8_t)text[i++]);
    }
#endif
    for (; i < n; i++) {
        uint8_t c = (uint8_t)text[i];
        if (needs_escape(c))
            p = write_escape(p, c);
        else
            *p++ = (char)c;
    }
    return p;
}

/* An object that was found to be one, on one line: between its values blanks may be ends of lines. */
static inline char *write_object(char *p, const char *text, int64_t n) {
    int64_t i = 0;
#if defined(COLLECTORD_SSE2)
    for (; i + 16 <= n; i += 16)
        _mm_storeu_si128((__m128i *)(p + i), _mm_max_epu8(_mm_loadu_si128((const __m128i *)(text + i)), _mm_set1_epi8(' ')));
#endif
    for (; i < n; i++) p[i] = (uint8_t)text[i] < ' ' ? ' ' : text[i];
    return p + n;
}

/* ---------------------------------------------------------------- values of a batch */

struct Literal {
    const char *text;
    int64_t length;
};

/* Sets a literal of so many bytes. Returns where the next one begins. */
static inline const char *place_literal(Literal *literal, const char *at, int64_t length) {
    literal->text = at;
    literal->length = length;
    return at + length;
}

static inline char *write_literal(char *p, const Literal *literal) {
    memcpy(p, literal->text, (size_t)literal->length);
    return p + literal->length;
}

static inline char *write_null(char *p) {
    memcpy(p, "null", 4);
    return p + 4;
}

static inline char *write_text(char *p, const Source *source, int64_t row) {
    int32_t offset = load_offset(source, row);
    return write_escaped(p, source->values + offset, load_offset(source, row + 1) - offset);
}

static inline char *write_quoted_time(char *p, Source *source, int64_t ns) {
    if (ns == INT64_MIN) return write_null(p);
    *p++ = '"';
    p = write_time(p, ns, true, &source->clock);
    *p = 'Z';
    p += source->op == TIMESTAMP_UTC;
    *p++ = '"';
    return p;
}

/* NaN or infinity, for which JSON has no text. */
static inline bool is_no_number(const Source *source, int64_t i) {
    switch (source->op) {
    case FLOAT64: return (load<uint64_t>(source->values + 8 * i) >> 52 & 0x7FF) == 0x7FF;
    case FLOAT32: return (load<uint32_t>(source->values + 4 * i) >> 23 & 0xFF) == 0xFF;
    case FLOAT16: return (load<uint16_t>(source->values + 2 * i) >> 10 & 0x1F) == 0x1F;
    }
    return false;
}

/* Value i of a field that is not null there. */
static inline char *write_value(char *p, Source *source, int64_t i, int mode) {
    switch (source->op) {
    case STRING:
        *p++ = '"';
        p = write_text(p, source, i);
        *p++ = '"';
        return p;
    case TIMESTAMP:
    case TIMESTAMP_UTC: return write_quoted_time(p, source, load<int64_t>(source->values + 8 * i));
    }
    return is_no_number(source, i) ? write_null(p) : write_number(p, source, i, mode);
}

/* ---------------------------------------------------------------- and memory for them */

enum {
    SLACK = 64,  /* what writers may store behind the end of their text */
    ESCAPED = 6, /* bytes that one byte of a text may become */
};

struct Text { /* grows; whoever has it frees `start` */
    char *start;
    int64_t used, size;
};

static inline bool has_room(Text *text, int64_t need) {
    if (text->size - text->used >= need) return true;
    int64_t size = text->used + need < 2 * text->size ? 2 * text->size : text->used + need;
    char *memory = (char *)realloc(text->start, (size_t)size);
    if (memory == NULL) return false;
    text->start = memory;
    text->size = size;
    return true;
}

/* The most bytes that the texts of a row may become; -1 if their offsets would lead out of their buffer. */
static inline int64_t need_of(const Source *sources, int64_t count, int64_t row) {
    int64_t need = 0;
    for (int64_t i = 0; i < count; i++) {
        const Source *source = sources + i;
        if (source->op == UUID) {
            need += TEXT_BYTES[UUID];
        } else if (source->op == STRING) {
            int32_t before = load_offset(source, row), at = load_offset(source, row + 1);
            if (before < 0 || at < before || at > source->last_offset) return -1;
            need += ESCAPED * (int64_t)(at - before);
        }
    }
    return need;
}

/* ---------------------------------------------------------------- is it an object

   Stricter than the grammar where readers differ, since one line that a reader refuses can keep it from all of a file: numbers
   have to fit an int64 or a double, escaped surrogates come in pairs, and nesting is bounded. */

enum { MOST_DEPTH = 64, MOST_EXPONENT = 308 };

struct Scanner {
    const char *p, *end;
};

static inline void skip_blanks(Scanner *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
}

static inline bool take(Scanner *s, char wanted) {
    if (s->p >= s->end || *s->p != wanted) return false;
    s->p++;
    return true;
}

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The four digits behind \u, or -1. */
static inline int take_unit(Scanner *s) {
    if (s->end - s->p < 4) return -1;
    int unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = *s->p++;
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* What follows a backslash. */
static inline bool take_escape(Scanner *s) {
    if (s->p >= s->end) return false;
    char c = *s->p++;
    if (c != 'u') return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
    int unit = take_unit(s);
    if (unit < 0 || (unit >= 0xDC00 && unit < 0xE000)) return false;
    if (unit < 0xD800 || unit >= 0xE000) return true;
    if (!take(s, '\\') || !take(s, 'u')) return false;
    unit = take_unit(s);
    return unit >= 0xDC00 && unit < 0xE000;
}

/* What follows an opening quote, and the closing one. */
static inline bool take_text(Scanner *s) {
    while (s->p < s->end) {
#if defined(COLLECTORD_SSE2)
        if (s->end - s->p >= 16) {
            int hits = escapes(_mm_loadu_si128((const __m128i *)s->p));
            s->p += hits ? __builtin_ctz(hits) : 16;
            if (!hits) continue;
        }
#endif
        uint8_t c = (uint8_t)*s->p++;
        if (c == '"') return true;
        if (c < 32 || (c == '\\' && !take_escape(s))) return false;
    }
    return false;
}

static inline int64_t take_digits(Scanner *s) {
    const char *begin = s->p;
    while (s->p < s->end && is_digit(*s->p)) s->p++;
    return s->p - begin;
}

static inline bool take_number(Scanner *s) {
    take(s, '-');
    const char *whole = s->p;
    int64_t digits = take_digits(s), exponent = 0;
    if (digits == 0 || (digits > 1 && *whole == '0')) return false;
    bool exact = true;
    if (take(s, '.')) {
        exact = false;
        if (take_digits(s) == 0) return false;
    }
    if (take(s, 'e') || take(s, 'E')) {
        exact = false;
        bool negative = take(s, '-');
        if (!negative) take(s, '+');
        const char *begin = s->p;
        if (take_digits(s) == 0) return false;
        while (begin < s->p && exponent <= MOST_EXPONENT) exponent = 10 * exponent + (*begin++ - '0');
        if (exponent > MOST_EXPONENT) return false;
        if (negative) exponent = 0;
    }
    if (exact) return digits < 19 || (digits == 19 && memcmp(whole, "9223372036854775807", 19) <= 0);
    return digits + exponent <= MOST_EXPONENT;
}

static inline bool take_word(Scanner *s, const char *word, int64_t n) {
    if (s->end - s->p < n || memcmp(s->p, word, (size_t)n) != 0) return false;
    s->p += n;
    return true;
}

/* A name and its colon. */
static inline bool take_name(Scanner *s) {
    if (!take(s, '"') || !take_text(s)) return false;
    skip_blanks(s);
    return take(s, ':');
}

/* Whether a text is one object and nothing else. */
static inline bool is_object(const char *text, int64_t n) {
    Scanner s = {text, text + n};
    uint64_t objects = 0; /* a bit for each level that is open: an object, or a list */
    int depth = 0;
    skip_blanks(&s);
    if (s.p >= s.end || *s.p != '{') return false;
    for (;;) {
        /* A value begins here. */
        skip_blanks(&s);
        if (s.p >= s.end) return false;
        char c = *s.p;
        bool empty = false;
        if (c == '{' || c == '[') {
            s.p++;
            if (depth == MOST_DEPTH) return false;
            objects = objects << 1 | (c == '{');
            depth++;
            skip_blanks(&s);
            empty = s.p < s.end && *s.p == (c == '{' ? '}' : ']');
            if (!empty) {
                if (c == '{' && !take_name(&s)) return false;
                continue;
            }
        } else if (c == '"') {
            s.p++;
            if (!take_text(&s)) return false;
        } else if (c == '-' || is_digit(c)) {
            if (!take_number(&s)) return false;
        } else if (!take_word(&s, "true", 4) && !take_word(&s, "false", 5) && !take_word(&s, "null", 4)) {
            return false;
        }
        /* It has ended, and so may the levels that it is in. */
        for (;;) {
            skip_blanks(&s);
            if (depth == 0) return s.p == s.end;
            if (take(&s, ',')) {
                skip_blanks(&s);
                if ((objects & 1) && !take_name(&s)) return false;
                break;
            }
            if (!take(&s, (objects & 1) ? '}' : ']')) return false;
            objects >>= 1;
            depth--;
        }
    }
}

} // namespace collectord

#endif
