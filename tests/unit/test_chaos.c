/* What MP_CHAOS may say, and that what it decides is as frequent as it says, and always the same. */
#include "pool/chaos.h"
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include <stdlib.h>

TestSuite(chaos, .timeout = 60);

static mp__chaos chaos;

static mp_status parse(const char *text)
{
    mp_error error;
    spoil(&chaos, sizeof chaos);
    return mp__chaos_parse(text, &chaos, &error);
}

static uint64_t percent(double number)
{
    return (uint64_t)(number / 100 * (double)(1ull << 53));
}

static bool near(uint64_t chance, double number)
{
    uint64_t wanted = percent(number);
    return (chance > wanted ? chance - wanted : wanted - chance) < 1000;
}

CHECK(chaos, every_word__is_read)
{
    cr_assert_eq(parse("kill:1%,hang:0.1%,slow:5%,start:10%,fail:2.25%,seed:42"), MP_OK);
    cr_assert(chaos.any);
    cr_assert(near(chaos.chance[MP__CHAOS_KILL], 1));
    cr_assert(near(chaos.chance[MP__CHAOS_HANG], 0.1));
    cr_assert(near(chaos.chance[MP__CHAOS_SLOW], 5));
    cr_assert(near(chaos.chance[MP__CHAOS_START], 10));
    cr_assert(near(chaos.chance[MP__CHAOS_FAIL], 2.25));
    cr_assert_eq(chaos.seed, 42);
}

CHECK(chaos, some_words_in_any_order__the_rest_is_zero)
{
    cr_assert_eq(parse("seed:18446744073709551615,fail:100%"), MP_OK);
    cr_assert_eq(chaos.seed, UINT64_MAX);
    cr_assert_eq(chaos.chance[MP__CHAOS_FAIL], 1ull << 53);
    cr_assert_eq(chaos.chance[MP__CHAOS_KILL], 0);
    cr_assert_eq(parse("slow:0%"), MP_OK);
    cr_assert_not(chaos.any);
    cr_assert_eq(parse("seed:7"), MP_OK);
    cr_assert_not(chaos.any);
    cr_assert_eq(parse(""), MP_OK);
    cr_assert(is_zero(&chaos, sizeof chaos));
}

CHECK(chaos, anything_else__is_refused_with_what_is_allowed)
{
    static const char *const wrong[] = {
        "kill",          "kill:",           "kill:1",          "kill:%",
        "kill:.5%",      "kill:1.%",        "kill:-1%",        "kill:1e1%",
        "kill:101%",     "kill:100.1%",     "kill:1%%",        "kill:1%,",
        ",kill:1%",      "kill:1% ",        " kill:1%",        "Kill:1%",
        "murder:1%",     "kill:1%;fail:2%", "kill:1%,kill:1%", "seed:",
        "seed:-1",       "seed:1%",         "seed:x",          "seed:18446744073709551616",
        "seed:1,seed:2", "kill:1%seed:2",   "kill 1%",         "kill:nan%",
        "kill:0x1%",     "\x1b[2J",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mp_error error;
        cr_assert_eq(mp__chaos_parse(wrong[i], &chaos, &error), MP_EINVAL, "%s", wrong[i]);
        cr_assert(is_zero(&chaos, sizeof chaos));
        cr_assert(says(&error, "MP_CHAOS=") && says(&error, "kill, hang, slow, start and fail") && says(&error, "seed:42"),
                  "%s", error.message);
    }
}

CHECK(chaos, error__shows_where_it_stopped)
{
    mp_error error;
    cr_assert_eq(mp__chaos_parse("kill:1%,slo:5%,seed:1", &chaos, &error), MP_EINVAL);
    cr_assert(says(&error, "cannot be read at \"slo:5%,seed:1\""), "%s", error.message);
}

CHECK(chaos, variable__is_what_is_read)
{
    mp_error error;
    unsetenv("MP_CHAOS");
    cr_assert_eq(mp__chaos_read(&chaos, &error), MP_OK);
    cr_assert_not(chaos.any);
    setenv("MP_CHAOS", "fail:50%", 1);
    cr_assert_eq(mp__chaos_read(&chaos, &error), MP_OK);
    cr_assert(chaos.any);
    setenv("MP_CHAOS", "fail", 1);
    cr_assert_eq(mp__chaos_read(&chaos, &error), MP_EINVAL);
    unsetenv("MP_CHAOS");
}

/* ---- decisions ---- */

enum { MANY = 200000 };

static int count_hits(mp__havoc havoc, const char *task, uint32_t attempt)
{
    int hits = 0;
    uint64_t number;
    for (uint64_t item = 0; item < MANY; item++)
        hits += mp__chaos_hits(&chaos, havoc, task, item, attempt, &number);
    return hits;
}

/* The seed is fixed, and so is what is counted here: this is no matter of luck. */
CHECK(chaos, each_word__hits_as_often_as_it_says)
{
    static const double percents[] = {0.1, 1, 10, 50};
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        for (int havoc = 0; havoc < MP__HAVOCS; havoc++) {
            chaos = (mp__chaos){.any = true, .seed = 3};
            chaos.chance[havoc] = percent(percents[i]);
            double expected = MANY * percents[i] / 100;
            int hits = count_hits((mp__havoc)havoc, "some_task", 1);
            cr_assert(hits > expected * 0.8 && hits < expected * 1.2, "%d of %d at %g%%", hits, MANY, percents[i]);
            cr_assert_eq(hits, count_hits((mp__havoc)havoc, "some_task", 1), "the same each time");
        }
}

CHECK(chaos, none_and_all__are_that)
{
    chaos = (mp__chaos){.seed = 1};
    cr_assert_eq(count_hits(MP__CHAOS_KILL, "task", 1), 0);
    chaos.chance[MP__CHAOS_KILL] = 1ull << 53;
    cr_assert_eq(count_hits(MP__CHAOS_KILL, "task", 1), MANY);
}

static int count_both(mp__havoc first, mp__havoc second, uint64_t other_seed, const char *other_task,
                      uint32_t other_attempt)
{
    int both = 0;
    mp__chaos other = chaos;
    uint64_t number;
    other.seed = other_seed;
    for (uint64_t item = 0; item < MANY; item++)
        both += mp__chaos_hits(&chaos, first, "task", item, 1, &number) &&
                mp__chaos_hits(&other, second, other_task, item, other_attempt, &number);
    return both;
}

static bool independent(int both) /* of two halves */
{
    return both > MANY * 0.25 * 0.97 && both < MANY * 0.25 * 1.03;
}

CHECK(chaos, seed_task_attempt_and_word__each_decide_anew)
{
    chaos = (mp__chaos){.seed = 5, .chance = {percent(50), percent(50), percent(50), percent(50), percent(50)}};
    cr_assert(independent(count_both(MP__CHAOS_KILL, MP__CHAOS_HANG, 5, "task", 1)));
    cr_assert(independent(count_both(MP__CHAOS_FAIL, MP__CHAOS_KILL, 5, "task", 1)));
    cr_assert(independent(count_both(MP__CHAOS_KILL, MP__CHAOS_KILL, 6, "task", 1)));
    cr_assert(independent(count_both(MP__CHAOS_KILL, MP__CHAOS_KILL, 5, "kast", 1)));
    cr_assert(independent(count_both(MP__CHAOS_KILL, MP__CHAOS_KILL, 5, "task", 2)));
    cr_assert_not(independent(count_both(MP__CHAOS_KILL, MP__CHAOS_KILL, 5, "task", 1)));
}

CHECK(chaos, start__is_decided_by_place_and_life)
{
    chaos = (mp__chaos){.seed = 9};
    chaos.chance[MP__CHAOS_START] = percent(10);
    int hits = 0;
    for (uint32_t place = 0; place < 100; place++)
        for (uint64_t life = 1; life <= 100; life++)
            hits += mp__chaos_hits_start(&chaos, place, life);
    cr_assert(hits > 850 && hits < 1150, "%d", hits);
    chaos.chance[MP__CHAOS_START] = percent(100);
    cr_assert_not(mp__chaos_hits_start(&chaos, 0, 0), "the pool is to open");
    cr_assert(mp__chaos_hits_start(&chaos, 0, 1));
}
