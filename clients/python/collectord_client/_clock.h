/* The time of day, asked of the processor where its counter may be trusted. */

#include <time.h>
#define HOUR 3600000000000LL

static long long ask_clock(clockid_t which) {
    struct timespec now;
    clock_gettime(which, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

#if defined(__x86_64__) && defined(__GNUC__)
/* The processor's counter takes half as long to read as the clock. Where the kernel itself keeps time by it, it tells how
   long ago the clock was asked last, and that is done again after a millisecond: so a clock that is set is followed. */
static int ticking = 0;
static unsigned long long asked_at = 0, lasting = 0, scale = 0, rated_at = 0;
static long long answer = 0, rated_ns = 0;

/* Reads both at once: 0 where the thread had to wait in between, for then they do not belong together. */
static int read_both(clockid_t which, long long *ns, unsigned long long *ticks) {
    unsigned long long before = __builtin_ia32_rdtsc();
    *ns = ask_clock(which);
    *ticks = __builtin_ia32_rdtsc();
    return *ticks - before < 10000;
}

/* Nanoseconds per tick in units of 2**-32, measured over at least 10 ms of the clock that nobody sets. */
static void rate_ticks(void) {
    unsigned long long ticks;
    long long now, passed;
    if (!read_both(CLOCK_MONOTONIC, &now, &ticks)) return;
    passed = now - rated_ns;
    if (rated_at && passed < 10000000 && passed >= 0 && ticks > rated_at) return;
    if (rated_at && passed < 1000000000 && passed > 0 && ticks > rated_at) {
        scale = ((unsigned long long)passed << 32) / (ticks - rated_at);
        lasting = scale ? (1000000ULL << 32) / scale : 0;
    }
    rated_at = ticks;
    rated_ns = now;
}

static long long ask_anew(void) {
    unsigned long long ticks;
    int together = read_both(CLOCK_REALTIME, &answer, &ticks);
    if (!lasting || ticks - rated_at > 500 * lasting) rate_ticks();
    asked_at = together ? ticks : ticks - lasting;
    return answer;
}

/* The GIL protects all of it. */
static CYTHON_INLINE long long clock_ns(void) {
    unsigned long long passed;
    if (!ticking) return ask_clock(CLOCK_REALTIME);
    passed = __builtin_ia32_rdtsc() - asked_at;
    return passed < lasting ? answer + (long long)((passed * scale) >> 32) : ask_anew();
}
static void trust_ticks(int whether) { ticking = whether; lasting = 0; rated_at = 0; }
#else
static CYTHON_INLINE long long clock_ns(void) { return ask_clock(CLOCK_REALTIME); }
static void trust_ticks(int whether) { (void)whether; }
#endif
