/* The text of times: ISO 8601, calendar arithmetic included.

   The writer puts its text at `p` and returns its end; it may store up to 32 bytes behind that. */

#ifndef COLLECTORD_ENCODE_TIMES_H
#define COLLECTORD_ENCODE_TIMES_H

#include "_numbers.h"

namespace collectord {

/* The second whose text is kept; INT64_MIN: none. Times of one column mostly share it with the one before. */
struct Clock {
    int64_t second;
    char text[20]; /* 2018-12-31T23:59:59. */
};

static inline void write_two(char *p, int x) {
    p[0] = (char)('0' + x / 10);
    p[1] = (char)('0' + x % 10);
}

/* In eras of 400 years beginning on 1 March; years here lie between 1677 and 2262. */
static void set_clock(Clock *clock, int64_t second) {
    int64_t day = second / 86400;
    int rest = (int)(second - day * 86400);
    if (rest < 0) {
        rest += 86400;
        day -= 1;
    }
    day += 719468;
    int era_day = (int)(day % 146097);
    int era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    int year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    int month = (5 * year_day + 2) / 153;
    int year = era_year + (int)(day / 146097) * 400 + (month >= 10);
    char text[32];
    store_eight_digits(text, (uint32_t)year * 10000);
    memcpy(clock->text, text, 4);
    clock->second = second;
    clock->text[4] = '-';
    write_two(clock->text + 5, month < 10 ? month + 3 : month - 9);
    clock->text[7] = '-';
    write_two(clock->text + 8, year_day - (153 * month + 2) / 5 + 1);
    clock->text[10] = 'T';
    write_two(clock->text + 11, rest / 3600);
    clock->text[13] = ':';
    write_two(clock->text + 14, rest / 60 % 60);
    clock->text[16] = ':';
    write_two(clock->text + 17, rest % 60);
    clock->text[19] = '.';
}

/* Six digits of the second, cut towards the past; nine if `nanos` is set and the time has a part below the microsecond. */
static inline char *write_time(char *p, int64_t ns, bool nanos, Clock *clock) {
    int64_t second = ns / 1000000000, part = ns - second * 1000000000;
    if (part < 0) {
        part += 1000000000;
        second -= 1;
    }
    if (second != clock->second) set_clock(clock, second);
    memcpy(p, clock->text, 20);
    uint32_t micros = (uint32_t)part / 1000, below = (uint32_t)part - micros * 1000;
    store_eight_digits(p + 20, micros * 100);
    p += 26;
    if (nanos && below != 0) {
        *p++ = (char)('0' + below / 100);
        write_two(p, (int)(below % 100));
        p += 2;
    }
    return p;
}

} // namespace collectord

#endif
