/* What MP_CHAOS says, and doing it: chaos.h says what there is.
 *
 * The parent reads the variable when a pool opens, and refuses what it does not understand: a test of failures in which none happens
 * would be worse than none. Workers get what it read: forked ones in their memory, executed ones by reading it again. They look at
 * it only where it is set. No state, any thread. Numbers are read here and not by strtod, whose comma is another in some
 * countries. */
#include "pool/chaos.h"
#include "pool/call.h"
#include "pool/failure.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SLOW_LEAST_NS = 1000000, SLOW_MOST_NS = 20000000, NAP_NS = 1000000, BITS = 53 };

static const char *const words[MP__HAVOCS] = {
    [MP__CHAOS_KILL] = "kill",   [MP__CHAOS_HANG] = "hang", [MP__CHAOS_SLOW] = "slow",
    [MP__CHAOS_START] = "start", [MP__CHAOS_FAIL] = "fail",
};

/* --- reading ------------------------------------------------------------------------------------------------------------- */

static bool take(const char **at, const char *text)
{
    size_t size = strlen(text);
    bool there = !strncmp(*at, text, size);
    *at += there ? size : 0;
    return there;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "12.5%", at most 100%. */
static bool take_percentage(const char **at, uint64_t *chance)
{
    const char *from = *at;
    double percent = 0, unit = 1;
    for (; is_digit(*from); from++)
        percent = percent * 10 + (*from - '0');
    bool number = from > *at;
    if (number && *from == '.') {
        const char *fraction = ++from;
        for (; is_digit(*from); from++)
            percent += (*from - '0') * (unit /= 10);
        number = from > fraction;
    }
    if (!number || *from != '%' || percent > 100)
        return false;
    *at = from + 1;
    *chance = (uint64_t)(percent / 100 * (double)(1ull << BITS));
    return true;
}

static bool take_seed(const char **at, uint64_t *seed)
{
    const char *from = *at;
    uint64_t number = 0;
    for (; is_digit(*from); from++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (unsigned)(*from - '0'), &number))
            return false;
    if (from == *at)
        return false;
    *at = from;
    *seed = number;
    return true;
}

enum { SEED = MP__HAVOCS, WORDS };

/* Which word it is, behind which comes its number; WORDS: none. */
static int take_word(const char **at)
{
    for (int i = 0; i < MP__HAVOCS; i++) {
        const char *behind = *at;
        if (take(&behind, words[i]) && take(&behind, ":")) {
            *at = behind;
            return i;
        }
    }
    return take(at, "seed:") ? SEED : WORDS;
}

static bool take_entry(const char **at, mp__chaos *chaos, unsigned *seen)
{
    const char *from = *at;
    int word = take_word(at);
    bool ok = word < WORDS && !(*seen & 1u << word) &&
              (word == SEED ? take_seed(at, &chaos->seed) : take_percentage(at, &chaos->chance[word])) &&
              (!**at || **at == ',');
    *seen |= 1u << word;
    if (!ok)
        *at = from;
    return ok;
}

mp_status mp__chaos_parse(const char *text, mp__chaos *chaos, mp_error *error)
{
    mp__chaos read = {0};
    const char *at = text;
    unsigned seen = 0;
    *chaos = read;
    if (!*text)
        return MP_OK;
    do {
        if (!take_entry(&at, &read, &seen))
            return mp__failure(error, MP_EINVAL,
                               MP__CHAOS_VARIABLE
                               "=\"%.80s\" cannot be read at \"%.20s\": it is a list of kill, hang, slow, start and "
                               "fail, each once and with a percentage up to 100%%, and seed with a whole number, "
                               "such as \"kill:1%%,slow:0.5%%,seed:42\"",
                               text, at);
    } while (take(&at, ","));
    for (int i = 0; i < MP__HAVOCS; i++)
        read.any |= read.chance[i] > 0;
    *chaos = read;
    return MP_OK;
}

mp_status mp__chaos_read(mp__chaos *chaos, mp_error *error)
{
    const char *text = secure_getenv(MP__CHAOS_VARIABLE);
    return mp__chaos_parse(text ? text : "", chaos, error);
}

/* --- deciding ------------------------------------------------------------------------------------------------------------ */

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014): each bit of the number moves half of those that come out. */
static uint64_t mix(uint64_t state, uint64_t number)
{
    uint64_t z = state + number + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool decide(const mp__chaos *chaos, mp__havoc havoc, uint64_t state, uint64_t *number)
{
    *number = mix(state, (uint64_t)havoc);
    return *number >> (64 - BITS) < chaos->chance[havoc];
}

bool mp__chaos_hits(const mp__chaos *chaos, mp__havoc havoc, const char *task, uint64_t item, uint32_t attempt,
                    uint64_t *number)
{
    uint64_t state = mix(0, chaos->seed);
    for (; *task; task++)
        state = mix(state, (unsigned char)*task);
    return decide(chaos, havoc, mix(mix(state, item), attempt), number);
}

bool mp__chaos_hits_start(const mp__chaos *chaos, uint32_t place, uint64_t life)
{
    uint64_t number;
    return life && decide(chaos, MP__CHAOS_START, mix(mix(mix(0, chaos->seed), place), life), &number);
}

/* --- doing --------------------------------------------------------------------------------------------------------------- */

static void nap(uint64_t ns)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

static mp_status kill_worker(mp_call *call)
{
    if (call->dies_alone)
        raise(SIGKILL);
    return mp_fail(call, MP_ECRASHED, MP__CHAOS_VARIABLE " would have killed the worker here");
}

static mp_status hang(mp_call *call)
{
    while (call->dies_alone)
        pause();
    while (!mp_call_cancelled(call))
        nap(NAP_NS);
    return mp_fail(call, MP_EFAILED, MP__CHAOS_VARIABLE " had this item hang until it was cancelled");
}

mp_status mp__chaos_strike(mp_call *call, const mp_task *task)
{
    const mp__chaos *chaos = call->chaos;
    bool hit[MP__HAVOCS];
    uint64_t number, nap_number = 0;
    for (int i = 0; i < MP__HAVOCS; i++) {
        hit[i] = mp__chaos_hits(chaos, (mp__havoc)i, task->name, call->item, call->attempt, &number);
        nap_number = i == MP__CHAOS_SLOW ? number : nap_number;
    }
    if (hit[MP__CHAOS_SLOW])
        nap(SLOW_LEAST_NS + mix(nap_number, 0) % (SLOW_MOST_NS - SLOW_LEAST_NS));
    if (hit[MP__CHAOS_KILL])
        return kill_worker(call);
    if (hit[MP__CHAOS_HANG])
        return hang(call);
    if (hit[MP__CHAOS_FAIL])
        return mp_fail(call, MP_EFAILED, MP__CHAOS_VARIABLE " has this item fail");
    return MP_OK;
}
