/* The letter: what a parent sends a worker that is awake goes to it by memory or by pipe, and comes whole, once and in order. */
#include "pool/process/letter.h"
#include "tests/lib/check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(letter, .timeout = 60);

static mp__shared *shared;
static mp__outbox outbox;
static unsigned char raw[4096];

static void begin(void)
{
    shared = aligned_alloc(MP__SHARED_HEAD, sizeof *shared);
    memset(shared, 0, sizeof *shared);
    outbox = (mp__outbox){0};
}

static void end(void)
{
    mp__outbox_fini(&outbox);
    free(shared);
}

static void add(size_t size)
{
    cr_assert(mp__outbox_raw(&outbox, MP__STOP, raw, size - MP__FRAME_SHORT));
}

CHECK(letter, unless_somebody_looks_from_there_on__is_not_put)
{
    begin();
    add(20);
    cr_assert(not(mp__letter_put(shared, &outbox)));
    cr_assert(mp__letter_want(shared, 7));
    cr_assert(not(mp__letter_put(shared, &outbox)));
    cr_assert(not(mp__letter_is_there(shared, 7)));
    cr_assert(eq(sz, mp__letter_take(shared, 7), 0));
    cr_assert(not(mp__letter_put(shared, &outbox)));
    cr_assert(eq(sz, mp__outbox_waiting(&outbox), 20));
    end();
}

CHECK(letter, all_that_waits__is_taken_once)
{
    begin();
    for (uint64_t at = 0; at < 100; at += 30) {
        add(20), add(10);
        cr_assert(mp__letter_want(shared, at));
        cr_assert(mp__letter_put(shared, &outbox));
        cr_assert(eq(u64, outbox.written, at + 30));
        cr_assert(zero(sz, mp__outbox_waiting(&outbox)));
        add(4);
        cr_assert(not(mp__letter_put(shared, &outbox)), "there is one already");
        outbox.bytes.size = 0;
        cr_assert(mp__letter_is_there(shared, at));
        cr_assert(eq(sz, mp__letter_take(shared, at), 30));
    }
    end();
}

CHECK(letter, what_does_not_fit__is_left)
{
    const size_t most = sizeof shared->letter;
    begin();
    cr_assert(mp__letter_want(shared, 0));
    cr_assert(not(mp__letter_put(shared, &outbox)), "nothing waits");
    add(most + 1);
    cr_assert(not(mp__letter_put(shared, &outbox)));
    outbox.bytes.size = 0;
    add(most);
    cr_assert(mp__letter_put(shared, &outbox));
    cr_assert(eq(sz, mp__letter_take(shared, 0), most));
    end();
}

CHECK(letter, half_of_what_waits_has_gone__the_rest_follows_it)
{
    unsigned char some[10];
    begin();
    add(20);
    cr_assert(eq(sz, mp__outbox_take(&outbox, some, sizeof some), sizeof some));
    cr_assert(mp__letter_want(shared, sizeof some));
    cr_assert(not(mp__letter_put(shared, &outbox)));
    end();
}

CHECK(letter, a_word_that_nobody_can_have_written__is_found)
{
    static const uint64_t words[] = {1,    7, 7u << 16, 7u << 16 | 57, 7u << 16 | 0xfffe, 8u << 16 | 20, 8u << 16 | 0xffff,
                                     ~0ull};
    begin();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        atomic_store(&shared->letter_word, words[i]);
        cr_assert(not(mp__letter_want(shared, 7)), "%zu", i);
        atomic_store(&shared->letter_word, words[i]);
        cr_assert(gt(sz, mp__letter_take(shared, 7), sizeof shared->letter), "%zu", i);
    }
    end();
}

/* Two threads in the places of both. The parent sends now and then, and more than fits now and then; the worker looks for a while, and
 * reads its pipe if nothing came that way, as chance has it. Bytes count on from one to the next, whichever way they come. */
enum { BYTES = CHECK_TSAN ? 200000 : 4000000, COUNT = 251 };
static int ends[2];
static size_t letters;

static unsigned below(unsigned *seed, unsigned most)
{
    return (unsigned)rand_r(seed) / 7 % most;
}

static void *send_bytes(void *unused)
{
    unsigned seed = 1;
    uint64_t next = 0;
    while (next < BYTES) {
        size_t size = 1 + below(&seed, below(&seed, 8) ? 30 : 200);
        if (!mp__buffer_reserve(&outbox.bytes, size))
            abort();
        while (size--)
            outbox.bytes.data[outbox.bytes.size++] = (unsigned char)(next++ % COUNT);
        for (unsigned i = below(&seed, 4) ? 0 : below(&seed, 30); i; i--)
            sched_yield();
        if (mp__letter_put(shared, &outbox))
            letters++;
        else if (mp__outbox_write(&outbox, ends[1]))
            abort();
        atomic_store(&shared->sent, next);
    }
    close(ends[1]);
    return unused;
}

static size_t wait_for_letter(unsigned *seed, uint64_t received)
{
    cr_assert(mp__letter_want(shared, received));
    for (unsigned i = below(seed, 60);
         i && !mp__letter_is_there(shared, received) && atomic_load(&shared->sent) <= received; i--)
        sched_yield();
    return mp__letter_take(shared, received);
}

CHECK(letter, by_whichever_way__what_is_sent_comes_whole_and_in_order)
{
    pthread_t parent;
    unsigned seed = 2;
    size_t got, taken = 0;
    begin();
    cr_assert(zero(int, pipe2(ends, O_CLOEXEC)));
    cr_assert(zero(int, pthread_create(&parent, NULL, send_bytes, NULL)));
    for (uint64_t received = 0; received < BYTES;) {
        got = below(&seed, 5) ? wait_for_letter(&seed, received) : 0;
        cr_assert(le(sz, got, sizeof shared->letter));
        taken += got > 0;
        if (got)
            memcpy(raw, shared->letter, got);
        else
            got = (size_t)read(ends[0], raw, sizeof raw);
        for (size_t i = 0; i < got; i++)
            cr_assert(raw[i] == received++ % COUNT, "byte %zu", (size_t)received - 1);
    }
    pthread_join(parent, NULL);
    cr_assert(eq(sz, letters, taken));
    cr_assert(gt(sz, letters, 0));
    close(ends[0]);
    end();
}
