/* The fields of an Arrow record batch as the kernels see them: opened through the C data interface, checked, their numbers
   written.

   Whoever calls has checked that the buffers are as long as the arrays claim (`pyarrow.RecordBatch.validate`). */

#ifndef COLLECTORD_ENCODE_FIELDS_H
#define COLLECTORD_ENCODE_FIELDS_H

#include <stdio.h>

#include "_numbers.h"
#include "_times.h"

/* The ABI of https://arrow.apache.org/docs/format/CDataInterface.html, frozen by its own promise. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};
struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

namespace collectord {

/* What a field holds: the numbers of model.ColumnType, then our own. BIT is a BOOL that Arrow packed. */
enum {
    BOOL = 1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    STRING,
    TIMESTAMP,
    TIMESTAMP_UTC,
    UUID,
    SCORING_TIME,
    BIT
};

/* Bytes of a value in Arrow, and the most that one becomes as text (of a STRING what is around it). */
static const int64_t VALUE_BYTES[BIT + 1] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 0, 8, 8, 16, 8, 0};
static const int64_t TEXT_BYTES[BIT + 1] = {0, 5, 4, 6, 11, 20, 4, 5, 10, 20, 24, 24, 24, 4, 31, 32, 36, 26, 5};
static const char *const FORMATS[BIT + 1] = {
    "", "C", "c", "s", "i", "l", "C", "S", "I", "L", "e", "f", "g", "u", "tsn:", "tsn:UTC", "w:16", "tsn:", "b"};

struct Source { /* a field in one batch */
    int op;
    int64_t width;           /* values per row of a tensor; 0: not a tensor */
    const uint8_t *validity; /* NULL: no nulls */
    int64_t first_bit;       /* of the batch's first row */
    const char *values;      /* of the batch's first row; the whole data for text */
    const char *offsets;     /* text: int32 of the batch's first row */
    int32_t last_offset;
    uint8_t *modes; /* one per value of a row */
    Clock clock;
};

static inline int32_t load_offset(const Source *source, int64_t row) { return load<int32_t>(source->offsets + 4 * row); }

static inline bool bit_at(const void *bits, int64_t i) { return ((const uint8_t *)bits)[i >> 3] >> (i & 7) & 1; }

static inline bool is_null(const Source *source, int64_t row) {
    return source->validity != NULL && !bit_at(source->validity, source->first_bit + row);
}

static inline bool any_null(const ArrowArray *column, int64_t first, int64_t count) {
    if (column->null_count == 0 || column->buffers[0] == NULL) return false;
    for (int64_t i = first; i < first + count; i++)
        if (!bit_at(column->buffers[0], i)) return true;
    return false;
}

/* Whether a field may be read as this. */
static bool holds(const ArrowSchema *field, int op) { return field->dictionary == NULL && strcmp(field->format, FORMATS[op]) == 0; }

/* Opens the field that a batch of `rows` from `offset` on has here; its op and width are set. Returns what is wrong with it, or
   NULL. A tensor has no nulls. */
static inline const char *open_source(Source *source, const ArrowSchema *field, const ArrowArray *column, int64_t offset, int64_t rows) {
    int64_t first = offset + column->offset;
    if (column->length < offset + rows) return "fewer rows than the batch";
    source->clock.second = INT64_MIN;
    if (source->width) {
        char format[32];
        snprintf(format, sizeof format, "+w:%lld", (long long)source->width);
        if (field->dictionary != NULL || strcmp(field->format, format) != 0) return "not the type that the plan expects";
        if (any_null(column, first, rows)) return "a tensor with nulls";
        field = field->children[0];
        column = column->children[0];
        first *= source->width;
        rows *= source->width;
        if (!holds(field, source->op)) return "not the type that the plan expects";
        if (column->length < first + rows) return "fewer values than its rows need";
        first += column->offset;
        if (any_null(column, first, rows)) return "a tensor with nulls";
    } else {
        if (source->op == BOOL && holds(field, BIT)) source->op = BIT;
        if (!holds(field, source->op)) return "not the type that the plan expects";
        source->first_bit = first;
        if (column->null_count != 0) source->validity = (const uint8_t *)column->buffers[0];
    }
    source->values = (const char *)column->buffers[1] + first * VALUE_BYTES[source->op];
    if (source->op == STRING) {
        source->offsets = (const char *)column->buffers[1] + 4 * first;
        source->values = (const char *)column->buffers[2];
        if (rows) source->last_offset = load_offset(source, rows);
    }
    return NULL;
}

/* Looks at some of the rows from `row` on, to write their floats faster. */
static inline void choose_modes(Source *source, int64_t row, int64_t rows) {
    int64_t width = source->width ? source->width : 1;
    const char *values = source->values + row * width * VALUE_BYTES[source->op];
    for (int64_t i = 0; i < width; i++) {
        if (source->op == FLOAT64)
            source->modes[i] = guess_mode<double>(values + 8 * i, width, rows);
        else if (source->op == FLOAT32)
            source->modes[i] = guess_mode<float>(values + 4 * i, width, rows);
    }
}

/* Value i of a field of numbers, truths or uuids. */
static inline char *write_number(char *p, const Source *source, int64_t i, int mode) {
    const char *value = source->values + i * VALUE_BYTES[source->op];
    bool yes;
    switch (source->op) {
    case FLOAT64: return write_float64(p, load<uint64_t>(value), mode);
    case FLOAT32: return write_float32(p, load<uint32_t>(value), mode);
    case FLOAT16: return write_float16(p, load<uint16_t>(value));
    case INT64: return write_signed(p, load<int64_t>(value));
    case INT32: return write_signed(p, load<int32_t>(value));
    case INT16: return write_signed(p, load<int16_t>(value));
    case INT8: return write_signed(p, (int8_t)*value);
    case UINT64: return write_unsigned(p, load<uint64_t>(value));
    case UINT32: return write_unsigned(p, load<uint32_t>(value));
    case UINT16: return write_unsigned(p, load<uint16_t>(value));
    case UINT8: return write_unsigned(p, (uint8_t)*value);
    case UUID: return write_uuid(p, value);
    case BOOL:
    case BIT:
        yes = source->op == BOOL ? *value != 0 : bit_at(value, source->first_bit + i);
        memcpy(p, yes ? "true\0\0\0" : "false\0\0", 8);
        return p + 5 - yes;
    }
    return p;
}

} // namespace collectord

#endif
