/* DEFLATE (RFC 1951) of a text whose repetitions are known: nothing is searched for, only coded.

   Each block has Huffman codes of its own (3.2.7). They are made of what the block holds: one pass over it counts, the next one
   writes. Code lengths are those of Huffman's algorithm with two queues (van Leeuwen, "On the construction of Huffman trees",
   1976). Where one is too long, the counts are halved until none is: that costs a little size, and only where a symbol is very
   rare. Whoever found the matches answers for them; that they stay in the text has been checked. */

#ifndef COLLECTORD_ENCODE_DEFLATE_H
#define COLLECTORD_ENCODE_DEFLATE_H

#include <algorithm>
#include <iterator>

#include "_matches.h"

namespace collectord {
namespace deflate {

enum {
    LITERALS = 256,
    END = 256,
    LENGTHS = 286, /* literals, the end, and 29 codes for the lengths of matches */
    DISTANCES = 30,
    TOOLS = 19,       /* symbols in which code lengths are told */
    LONGEST_CODE = 14, /* four literals and what is left of a byte fit in a word; 15 are allowed */
    LONGEST_TOOL = 7,
    LONGEST = 258,    /* a match */
    FARTHEST = 32768,
    BLOCK = 262144,   /* bytes of text, but for a last match */
    HEADER_BYTES = 640
};

/* The most bytes of `n` bytes of text: a literal has at most LONGEST_CODE bits, a match of three bytes or more at most 47. */
static inline int64_t bound(int64_t n) { return 2 * n + (n / BLOCK + 1) * HEADER_BYTES + 16; }

struct Bits {
    char *out;
    uint64_t word = 0;
    int used = 0;

    void add(uint64_t bits, int count) {
        word |= bits << used;
        used += count;
    }
    /* At most 56 bits may be added after this. */
    void flush() {
        store_word(out, word);
        out += used >> 3;
        word >>= used & 56;
        used &= 7;
    }
};

struct Code {
    uint32_t bits;
    int32_t count;
};

/* Code lengths of at most `most` bits for symbols with these counts; 0 where the count is. At least two have one. */
static inline void code_lengths(const uint32_t *counts, int symbols, int most, uint8_t *lengths) {
    struct Leaf {
        uint32_t count;
        int symbol;
    } leaves[LENGTHS];
    uint32_t weights[LENGTHS];
    int parents[2 * LENGTHS], depths[2 * LENGTHS], n = 0;
    for (int s = 0; s < symbols; s++) {
        lengths[s] = 0;
        if (counts[s]) leaves[n++] = Leaf{counts[s], s};
    }
    for (int s = 0; n < 2; s++)
        if (!counts[s]) leaves[n++] = Leaf{1, s};
    for (;;) {
        std::sort(leaves, leaves + n, [](const Leaf &a, const Leaf &b) {
            return a.count != b.count ? a.count < b.count : a.symbol < b.symbol;
        });
        /* Nodes 0 to n-1 are the leaves, those behind them join two: both rise, so the lightest stand at the fronts. */
        int leaf = 0, node = n;
        for (int made = n; made < 2 * n - 1; made++) {
            uint32_t weight = 0;
            for (int child = 0; child < 2; child++) {
                bool take_leaf = leaf < n && (node == made || leaves[leaf].count <= weights[node - n]);
                weight += take_leaf ? leaves[leaf].count : weights[node - n];
                parents[take_leaf ? leaf++ : node++] = made;
            }
            weights[made - n] = weight;
        }
        int deepest = depths[2 * n - 2] = 0;
        for (int i = 2 * n - 3; i >= 0; i--) deepest = std::max(deepest, depths[i] = depths[parents[i]] + 1);
        if (deepest <= most) break;
        for (int i = 0; i < n; i++) leaves[i].count = leaves[i].count / 2 | 1;
    }
    for (int i = 0; i < n; i++) lengths[leaves[i].symbol] = (uint8_t)depths[i];
}

/* The codes of 3.2.2, the first bit lowest. */
static inline void make_codes(const uint8_t *lengths, int symbols, Code *codes) {
    int of_length[16] = {0}, next[16] = {0};
    for (int s = 0; s < symbols; s++) of_length[lengths[s]]++;
    of_length[0] = 0;
    for (int length = 1; length < 16; length++) next[length] = (next[length - 1] + of_length[length - 1]) << 1;
    for (int s = 0; s < symbols; s++) {
        uint32_t bits = 0;
        if (lengths[s])
            for (int i = 0, code = next[lengths[s]]++; i < lengths[s]; i++) bits |= (uint32_t)(code >> i & 1) << (lengths[s] - 1 - i);
        codes[s] = Code{bits, lengths[s]};
    }
}

/* A length or a distance, as 3.2.5 splits it: a symbol and what stands behind it. */
struct Split {
    int symbol, extra;
    uint32_t rest;
};

static inline Split split_length(int length) {
    int past = length - 3;
    if (length == LONGEST) return Split{285, 0, 0};
    if (past < 8) return Split{257 + past, 0, 0};
    int extra = 29 - __builtin_clz((uint32_t)past);
    return Split{257 + 4 * extra + (past >> extra), extra, (uint32_t)past & ((1u << extra) - 1)};
}

static inline Split split_distance(int64_t distance) {
    uint32_t past = (uint32_t)distance - 1;
    if (past < 4) return Split{(int)past, 0, 0};
    int extra = 30 - __builtin_clz(past);
    return Split{2 * extra + (int)(past >> extra), extra, past & ((1u << extra) - 1)};
}

/* Where in the sequences a block begins. */
struct Place {
    int64_t at, sequence;
    int64_t written; /* of the sequence's literals */
};

struct Given {
    const char *text;
    int64_t size;
    const Sequence *sequences;
    int64_t count;
};

/* Tells `to` the literals and matches from a place on, until BLOCK bytes have been told or the text ends. */
template <typename To> static inline Place tell(const Given &given, Place place, To &to) {
    int64_t end = std::min(given.size, place.at + BLOCK);
    while (place.at < end) {
        const Sequence *s = place.sequence < given.count ? given.sequences + place.sequence : nullptr;
        int64_t own = s ? (int64_t)s->literals - place.written : given.size - place.at;
        int64_t now = std::min(own, end - place.at);
        to.literals(given.text + place.at, now);
        place.at += now;
        place.written += now;
        if (now < own || !s) continue;
        int64_t left = s->length;
        if (left < 3 || s->offset > FARTHEST) {
            to.literals(given.text + place.at, left);
        } else {
            while (left) {
                /* Nothing shorter than three may be left over. */
                int length = left <= LONGEST ? (int)left : left >= LONGEST + 3 ? LONGEST : LONGEST - 3;
                to.match(length, s->offset);
                left -= length;
            }
        }
        place = Place{place.at + s->length, place.sequence + 1, 0};
    }
    return place;
}

struct Counter {
    /* Four tables: neighbours are often equal, and a count that was just written is slow to read. */
    uint32_t literal[4][LITERALS] = {};
    uint32_t lengths[LENGTHS] = {}, distances[DISTANCES] = {};

    void literals(const char *text, int64_t n) {
        const uint8_t *p = (const uint8_t *)text;
        int64_t i = 0;
        for (; i + 4 <= n; i += 4)
            for (int k = 0; k < 4; k++) literal[k][p[i + k]]++;
        for (; i < n; i++) literal[0][p[i]]++;
    }
    void match(int length, int64_t distance) {
        lengths[split_length(length).symbol]++;
        distances[split_distance(distance).symbol]++;
    }
    void sum() {
        for (int s = 0; s < LITERALS; s++) lengths[s] = literal[0][s] + literal[1][s] + literal[2][s] + literal[3][s];
        lengths[END] = 1;
    }
};

struct Writer {
    Bits bits;
    Code lengths[LENGTHS], distances[DISTANCES];

    void literals(const char *text, int64_t n) {
        const uint8_t *p = (const uint8_t *)text;
        Bits b = bits;
        int64_t i = 0;
        for (; i + 4 <= n; i += 4) {
            for (int k = 0; k < 4; k++) b.add(lengths[p[i + k]].bits, lengths[p[i + k]].count);
            b.flush();
        }
        for (; i < n; i++) b.add(lengths[p[i]].bits, lengths[p[i]].count);
        b.flush();
        bits = b;
    }
    void symbol(const Code *codes, const Split &split) {
        bits.add(codes[split.symbol].bits, codes[split.symbol].count);
        bits.add(split.rest, split.extra);
    }
    void match(int length, int64_t distance) {
        symbol(lengths, split_length(length));
        symbol(distances, split_distance(distance));
        bits.flush();
    }
};

/* How many of the code lengths from `i` on are equal, at most `most`. */
static inline int run(const uint8_t *lengths, int i, int end, int most) {
    int n = 1;
    while (i + n < end && n < most && lengths[i + n] == lengths[i]) n++;
    return n;
}

/* The codes of a block, as 3.2.7 tells them: their lengths, run by run, in a code of their own. */
static inline void write_codes(Bits *bits, const uint8_t *of_lengths, const uint8_t *of_distances) {
    static const uint8_t ORDER[TOOLS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    int lengths = LENGTHS, distances = DISTANCES, tools = TOOLS, n = 0;
    while (lengths > END + 1 && !of_lengths[lengths - 1]) lengths--;
    while (distances > 1 && !of_distances[distances - 1]) distances--;
    uint8_t all[LENGTHS + DISTANCES];
    std::copy(of_lengths, of_lengths + lengths, all);
    std::copy(of_distances, of_distances + distances, all + lengths);
    int end = lengths + distances;
    struct {
        uint8_t tool, extra, rest;
    } told[LENGTHS + DISTANCES];
    uint32_t counts[TOOLS] = {0};
    for (int i = 0; i < end;) {
        int same = run(all, i, end, all[i] ? 7 : 138);
        if (!all[i] && same >= 11) {
            told[n] = {18, 7, (uint8_t)(same - 11)};
        } else if (!all[i] && same >= 3) {
            told[n] = {17, 3, (uint8_t)(same - 3)};
        } else if (all[i] && same >= 4) {
            counts[all[i]]++;
            told[n++] = {all[i], 0, 0};
            told[n] = {16, 2, (uint8_t)(same - 4)};
        } else {
            told[n] = {all[i], 0, 0};
            same = 1;
        }
        counts[told[n++].tool]++;
        i += same;
    }
    uint8_t of_tools[TOOLS];
    Code codes[TOOLS];
    code_lengths(counts, TOOLS, LONGEST_TOOL, of_tools);
    make_codes(of_tools, TOOLS, codes);
    while (tools > 4 && !of_tools[ORDER[tools - 1]]) tools--;
    bits->add(lengths - 257, 5);
    bits->add(distances - 1, 5);
    bits->add(tools - 4, 4);
    bits->flush();
    for (int i = 0; i < tools; i++) {
        bits->add(of_tools[ORDER[i]], 3);
        bits->flush();
    }
    for (int i = 0; i < n; i++) {
        bits->add(codes[told[i].tool].bits, codes[told[i].tool].count);
        bits->add(told[i].rest, told[i].extra);
        bits->flush();
    }
}

/* Whether the matches stay within the text, and repeat what stands before them. */
static inline bool fit(const Given &given) {
    int64_t at = 0;
    for (const Sequence *s = given.sequences; s != given.sequences + given.count; s++) {
        at += s->literals;
        if (!s->offset || s->offset > at || at + s->length > given.size) return false;
        at += s->length;
    }
    return true;
}

/* Writes the text to `out`, which has room for `bound(size)` bytes, and returns how many it took. */
static inline int64_t write(const Given &given, char *out) {
    Writer writer;
    writer.bits.out = out;
    Place place{0, 0, 0};
    do {
        Counter counter;
        Place next = tell(given, place, counter);
        counter.sum();
        uint8_t of_lengths[LENGTHS], of_distances[DISTANCES];
        code_lengths(counter.lengths, LENGTHS, LONGEST_CODE, of_lengths);
        code_lengths(counter.distances, DISTANCES, LONGEST_CODE, of_distances);
        make_codes(of_lengths, LENGTHS, writer.lengths);
        make_codes(of_distances, DISTANCES, writer.distances);
        writer.bits.add(next.at == given.size, 1);
        writer.bits.add(2, 2);
        write_codes(&writer.bits, of_lengths, of_distances);
        tell(given, place, writer);
        writer.bits.add(writer.lengths[END].bits, writer.lengths[END].count);
        writer.bits.flush();
        place = next;
    } while (place.at < given.size);
    store_word(writer.bits.out, writer.bits.word);
    return writer.bits.out + (writer.bits.used + 7) / 8 - out;
}

} // namespace deflate
} // namespace collectord

#endif
