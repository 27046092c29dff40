"""What the kernels beside this file share: it is all in C++, and nothing is imported with it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "_fields.h" nogil:
    struct ArrowSchema:
        const char* format
        int64_t n_children
        ArrowSchema** children

    struct ArrowArray:
        int64_t length
        int64_t offset
        int64_t n_children
        ArrowArray** children


cdef extern from "_fields.h" namespace "collectord" nogil:
    enum:
        BOOL
        FLOAT16
        FLOAT32
        FLOAT64
        STRING
        TIMESTAMP
        TIMESTAMP_UTC
        UUID
        SCORING_TIME
        SHORTEST

    struct Clock:
        pass

    struct Source:
        int op
        int64_t width
        const char* values
        int32_t last_offset
        uint8_t* modes
        Clock clock

    const int64_t* VALUE_BYTES
    const int64_t* TEXT_BYTES

    T load[T](const char* p) noexcept
    int32_t load_offset(const Source* source, int64_t row) noexcept
    bint is_null(const Source* source, int64_t row) noexcept
    const char* open_source(Source* source, const ArrowSchema* field, const ArrowArray* column, int64_t offset, int64_t rows) noexcept
    void choose_modes(Source* source, int64_t row, int64_t rows) noexcept

    char* write_number(char* p, const Source* source, int64_t i, int mode) noexcept
    char* write_unsigned(char* p, uint64_t x) noexcept
    char* write_float64(char* p, uint64_t bits, int mode) noexcept
    char* write_float32(char* p, uint32_t bits, int mode) noexcept
    char* write_uuid(char* p, const char* bytes) noexcept
    char* write_time(char* p, int64_t ns, bint nanos, Clock* clock) noexcept
    bint any_special(const char* p, int64_t n) noexcept
    char* copy_doubling_quotes(char* out, const char* p, int64_t n) noexcept
    char* copy_text(char* out, const char* p, int64_t n) noexcept


cdef extern from "_json.h" namespace "collectord" nogil:
    enum:
        SLACK

    struct Literal:
        const char* text
        int64_t length

    struct Text:
        char* start
        int64_t used
        int64_t size

    const char* place_literal(Literal* literal, const char* at, int64_t length) noexcept
    char* write_literal(char* p, const Literal* literal) noexcept
    char* write_null(char* p) noexcept
    char* write_text(char* p, const Source* source, int64_t row) noexcept
    bint is_no_number(const Source* source, int64_t i) noexcept
    char* write_value(char* p, Source* source, int64_t i, int mode) noexcept
    char* write_object(char* p, const char* text, int64_t n) noexcept
    bint is_object(const char* text, int64_t n) noexcept
    bint has_room(Text* text, int64_t need) noexcept
    int64_t need_of(const Source* sources, int64_t count, int64_t row) noexcept
