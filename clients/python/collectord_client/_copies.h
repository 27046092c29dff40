/* How numbers and arrays get into a page. */

#include <string.h>

static CYTHON_INLINE void write_big(unsigned char *to, unsigned long long value) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
    memcpy(to, &value, 8);
#else
    int at;
    for (at = 7; at >= 0; at--, value >>= 8) to[at] = (unsigned char)value;
#endif
}

/* Copies values into a page. Those of a large array go past the caches: this thread does not read them again, what it does need
   stays where it is, and nothing is fetched only to be written over. Memory that is `fresh` was just cleared by the kernel, so it
   is in the caches already. */
#if defined(__SSE2__)
#include <emmintrin.h>
#define PAST_CACHES 16384
static CYTHON_INLINE void copy_values(char *to, const char *from, Py_ssize_t size, int fresh) {
    Py_ssize_t at, head = -(Py_ssize_t)to & 15;
    if (size < PAST_CACHES || fresh) {
        memcpy(to, from, size);
        return;
    }
    memcpy(to, from, head);
    for (at = head; at + 64 <= size; at += 64) {
        const __m128i *source = (const __m128i *)(from + at);
        __m128i *target = (__m128i *)(to + at);
        __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
        __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
    memcpy(to + at, from + at, size - at);
}
#else
static CYTHON_INLINE void copy_values(char *to, const char *from, Py_ssize_t size, int fresh) {
    (void)fresh;
    memcpy(to, from, size);
}
#endif

/* Asks for memory that calls to come will write to. The thread that sends has read the buffer on another core, which has to let
   go of each line of it: a small call would wait for that longer than for all else. Past an end of the buffer nothing is asked
   that could fail. */
#if defined(__GNUC__)
#define FETCH(line) __builtin_prefetch(line, 1)
#else
#define FETCH(line) (void)(line)
#endif

/* Values go up, and notes go down. */
static CYTHON_INLINE void fetch_next(const char *values, const char *note) {
    FETCH(values + 512);
    FETCH(note - 256);
}

/* Of a buffer that is begun. */
static CYTHON_INLINE void fetch_ends(const char *buffer, Py_ssize_t size) {
    int at;
    for (at = 0; at <= 512; at += 64) FETCH(buffer + at);
    for (at = 64; at <= 256; at += 64) FETCH(buffer + size - at);
}

/* How numpy's ndarray begins; see `_Shape.known_layout`. */
typedef struct {
    PyObject_HEAD
    char *data;
    int dimensions;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    PyObject *base;
    PyObject *dtype;
} Array;
