/* Where the text of a row repeats what stands before it: the matches that zstd would else have to look for.

   A writer of rows knows where they are: a constant, a time, an id that belongs to several rows stand where they stood in
   the row before. Such places are anchors. The writer marks them while it writes a row; behind the row `match_row` compares
   the text at each with the text at the same anchor before, and what is equal becomes a sequence. Nothing else is looked at,
   so whatever repeats in another way is not found.

   Places are bytes from the beginning of the text, which may move. */

#ifndef COLLECTORD_ENCODE_MATCHES_H
#define COLLECTORD_ENCODE_MATCHES_H

#include "_fields.h"

namespace collectord {

enum {
    SHORTEST_MATCH = 6,      /* a sequence takes as many bits as some four characters */
    FARTHEST_MATCH = 131072, /* within every window that zstd chooses */
    PAIRS = 16               /* of neighbours, from which a block's columns are judged */
};

/* ZSTD_Sequence of zstd.h: `literals` bytes of their own, then `length` bytes that stand `offset` before. */
struct Sequence {
    uint32_t offset, literals, length, rep;
};

struct Mark {
    int64_t anchor, at;
};

struct Matcher {
    Sequence *sequences;
    int64_t room, count;
    int64_t covered;      /* text before this is in a sequence */
    int64_t *last;        /* per anchor: where it stood last; -1: nowhere */
    const int64_t *twins; /* per anchor: another one of the row that may say the same; -1: none */
    uint8_t *follows;     /* per anchor: whether it is marked in this block; then per field: whether any of its values is */
    Mark *marks;          /* those of a row, by place */
    int64_t marked;
};

static inline void mark(Matcher *m, int64_t anchor, int64_t at) { m->marks[m->marked++] = Mark{anchor, at}; }

/* How many of at most `most` bytes are equal. */
static inline int64_t common(const char *a, const char *b, int64_t most) {
    int64_t n = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; n + 8 <= most; n += 8) {
        uint64_t difference = load<uint64_t>(a + n) ^ load<uint64_t>(b + n);
        if (difference) return n + (__builtin_ctzll(difference) >> 3);
    }
#endif
    while (n < most && a[n] == b[n]) n++;
    return n;
}

/* Adds the match of the text at `at` with that at `before`, if it is long enough. */
static inline bool add_match(Matcher *m, const char *text, int64_t at, int64_t before, int64_t end) {
    int64_t skipped = m->covered - at;
    if (skipped > 0) {
        at += skipped;
        before += skipped;
    }
    if (at - before > FARTHEST_MATCH || at >= end) return false;
    int64_t length = common(text + at, text + before, end - at);
    while (at > m->covered && before > 0 && text[at - 1] == text[before - 1]) {
        at--;
        before--;
        length++;
    }
    Sequence *former = m->sequences + m->count - 1;
    if (length && m->count && at == m->covered && former->offset == at - before) {
        former->length += (uint32_t)length;
    } else {
        if (length < SHORTEST_MATCH) return false;
        m->sequences[m->count++] = Sequence{(uint32_t)(at - before), (uint32_t)(at - m->covered), (uint32_t)length, 0};
    }
    m->covered = at + length;
    return true;
}

/* Behind a row, which ends at `end`: its marks become sequences. */
static inline void match_row(Matcher *m, const char *text, int64_t end) {
    for (int64_t i = 0; i < m->marked; i++) {
        int64_t anchor = m->marks[i].anchor, at = m->marks[i].at, before = m->last[anchor], twin = m->twins[anchor];
        m->last[anchor] = at;
        if (before >= 0 && add_match(m, text, at, before, end)) continue;
        if (twin >= 0 && m->last[twin] >= 0) add_match(m, text, at, m->last[twin], end);
    }
    m->marked = 0;
}

static inline bool same_value(const Source *source, int64_t i, int64_t j) {
    if (source->op == BIT) return bit_at(source->values, source->first_bit + i) == bit_at(source->values, source->first_bit + j);
    if (source->op != STRING) {
        int64_t size = VALUE_BYTES[source->op];
        return memcmp(source->values + i * size, source->values + j * size, size) == 0;
    }
    int32_t a = load_offset(source, i), b = load_offset(source, j);
    int32_t length = load_offset(source, i + 1) - a;
    return length == load_offset(source, j + 1) - b && memcmp(source->values + a, source->values + b, length) == 0;
}

/* Judges which of a field's values to mark in these rows: times and ids always, for they share beginnings or repeat in runs,
   others where a quarter of the neighbours looked at are equal. Returns how many. */
static inline int64_t choose_follows(const Source *source, uint8_t *follows, int64_t row, int64_t rows) {
    int64_t width = source->width ? source->width : 1, step = rows > PAIRS ? rows / PAIRS : 1, found = 0;
    for (int64_t j = 0; j < width; j++) {
        bool follow = source->op >= TIMESTAMP && source->op <= SCORING_TIME;
        if (!follow) {
            int64_t same = 0, pairs = 0;
            for (int64_t i = row; i + 1 < row + rows; i += step, pairs++)
                same += same_value(source, i * width + j, (i + 1) * width + j);
            follow = pairs && 4 * same >= pairs;
        }
        follows[j] = follow;
        found += follow;
    }
    return found;
}

} // namespace collectord

#endif
