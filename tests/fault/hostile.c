/* The hostile worker, and what is asked of its pool.
 *
 * A task finds its worker's pipe and shared memory, and by a seed does a dozen things to them: bytes of chance, frames of every
 * kind, whole and cut, with lengths that are true, too great or beyond all limits, nested deeply, counts that promise what does not
 * follow, results of items that it has not got, greetings; words of the shared memory that are likely, unlikely and impossible;
 * announced, so that they are believed as far as can be, or not; while the parent reads. Then it goes on, fails, exits or dies.
 *
 * The oracle. The map ends, and each item has one status. What an honest worker has run is right, and there.
 * A result of the hostile one's own items may be forged: nobody can tell. The pool works on. Nothing is left behind. And
 * the parent's memory is bounded: by what was sent to it, and what a decoded value may be larger than its bytes. */
#include "tests/fault/hostile.h"
#include "pool/process/protocol.h"
#include "pool/record.h"
#include "serial/frame.h"
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/until.h"
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <millpond.h>
#include <signal.h>
#include <sys/stat.h>

enum { ITEMS = 24, SENT = 160 * 1024 /* bytes that a seed sends, at most */, STEPS = 12 };
/* Of the ledger. An item that a hostile life denies to have run is run again, and by its seed that life denies it as well: there may
 * be many. Their ids stand in lines behind those of the items. */
enum { SEED_OF_ONE, TURNED /* words */, TURNED_MAX = 1024 };

/* ---- chance ---- */

static uint64_t state;

static uint64_t chance(void)
{
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t below(uint64_t limit)
{
    return chance() % limit;
}

/* Likely, unlikely and impossible ones. */
static uint64_t any_number(uint64_t near)
{
    static const uint64_t hard[] = {0,
                                    1,
                                    2,
                                    15,
                                    4096,
                                    65536,
                                    1ull << 28,
                                    UINT32_MAX,
                                    1ull << 40,
                                    (1ull << 40) + 1,
                                    1ull << 48,
                                    INT64_MAX,
                                    UINT64_MAX - 19,
                                    UINT64_MAX};
    switch (below(4)) {
    case 0: return hard[below(sizeof hard / sizeof *hard)];
    case 1: return 1ull << below(64);
    case 2: return chance() >> below(64);
    default: return near + below(41) - 20;
    }
}

/* How long a frame says that it is. An allocator that is watched writes down as much as it is asked for. */
static uint64_t any_length(uint64_t near)
{
    uint64_t length = any_number(near);
    return ROUNDS_SLOWER == 1 || length > 1ull << 40 ? length : length & ((1u << 24) - 1);
}

/* ---- what it has taken over ---- */

static int results_fd;
static mp__shared *shared;
static unsigned char bytes[2 * SENT];
static size_t size, budget;

static bool take_over(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    shared = NULL;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:millpond"))
            shared = (mp__shared *)strtoul(line, NULL, 16);
    if (maps)
        fclose(maps);
    for (results_fd = 1100; results_fd > 2; results_fd--) {
        int flags = fcntl(results_fd, F_GETFL);
        struct stat about;
        if (flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && fstat(results_fd, &about) == 0 && S_ISFIFO(about.st_mode))
            break;
    }
    return shared && results_fd > 2;
}

static void put(const void *what, size_t count)
{
    if (count > sizeof bytes - size)
        count = sizeof bytes - size;
    memcpy(bytes + size, what, count);
    size += count;
}

static void put_chance(size_t count)
{
    while (count--)
        put(&(uint8_t){(uint8_t)chance()}, 1);
}

static void put_header(unsigned kind, uint64_t payload, uint64_t control, bool is_long)
{
    uint32_t word = kind | (uint32_t)((is_long ? MP__SIZE_IS_LONG : payload) << 4);
    put(&word, sizeof word);
    if (is_long) {
        put(&payload, sizeof payload);
        put(&control, sizeof control);
    }
}

static unsigned any_kind(void)
{
    static const uint8_t likely[] = {MP__HELLO, MP__TASK, MP__VALUE, MP__VALUES, MP__FAILURE, MP__OUTPUT};
    return below(4) ? likely[below(sizeof likely)] : (unsigned)below(16);
}

/* ---- frames ---- */

/* msgpack that begins well: a result, or a promise of more than follows, or very deep. */
static void put_msgpack(void)
{
    static const unsigned char result[] = {0x94, 7, 0xc4, 2, 'h', 'i', 0xc0, 0x92, 1, 2};
    static const unsigned char heads[] = {0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf};
    uint64_t count;
    switch (below(5)) {
    case 0: put(result, sizeof result); break;
    case 1:
        for (count = below(2) ? 40 : below(30000); count; count--)
            put(&(uint8_t){below(9) ? 0x91 : 0x81}, 1);
        break;
    case 2: /* lengths of 1, 2 or 4 bytes, most of them all ones */
        put(&heads[below(sizeof heads)], 1);
        put(below(3) ? "\xff\xff\xff\xff" : "\x00\x00\x01\x00", 4);
        put_chance(below(100));
        break;
    case 3: /* many of what is small in bytes and large in memory */
        put("\x94\x07\xc4\x00\xdd", 5);
        count = below(20000);
        put((uint8_t[]){0, (uint8_t)(count >> 16), (uint8_t)(count >> 8), (uint8_t)count}, 4);
        memset(bytes + size, below(2) ? 0x90 : 0xc0, count);
        size += count;
        put("\x90", 1);
        break;
    default: put_chance(below(60));
    }
}

static void put_refusal(void)
{
    uint32_t status = (uint32_t)any_number(12);
    uint8_t message = (uint8_t)below(40);
    put((uint8_t[]){0x92, 0xd2, (uint8_t)(status >> 24), (uint8_t)(status >> 16), (uint8_t)(status >> 8), (uint8_t)status,
                    0xc4, message},
        8);
    put_chance(message);
}

static void put_hello(void)
{
    mp__hello hello = {.protocol = (uint32_t)(below(3) ? MP__PROTOCOL : any_number(MP__PROTOCOL)),
                       .pid = (int32_t)any_number((uint64_t)getpid()),
                       .hash = chance(),
                       .tasks = any_number(3)};
    memcpy(hello.version, mp_version(), strnlen(mp_version(), sizeof hello.version));
    put(&hello, below(4) ? sizeof hello : below(sizeof hello));
}

static void put_printed(void)
{
    uint32_t head[] = {(uint32_t)(below(8) ? below(2) : any_number(1)), (uint32_t)below(3)};
    put(head, below(8) ? sizeof head : below(sizeof head));
    put_chance(below(8) ? below(50) : below(MP__CAPTURE_TEXT + 10));
}

/* Around a payload that was put from `from` on: its header goes before it. */
static void wrap(size_t from, unsigned kind)
{
    static unsigned char payload[sizeof bytes];
    size_t count = size - from;
    memcpy(payload, bytes + from, count);
    size = from;
    bool lies = !below(4), is_long = !below(6);
    put_header(kind, lies ? any_length(count) : count, lies ? any_length(count) : count, is_long);
    put(payload, count);
    if (!below(8) && size > from)
        size -= below(size - from); /* cut */
}

static void put_frame(void)
{
    size_t from = size;
    unsigned kind = any_kind();
    if (kind == MP__HELLO && below(8))
        put_hello();
    else if (kind == MP__FAILURE && below(8))
        put_refusal();
    else if (kind == MP__OUTPUT && below(8))
        put_printed();
    else if (kind == MP__TASK || !below(8))
        put_chance(below(100));
    else
        put_msgpack();
    wrap(from, kind);
}

/* ---- deeds ---- */

/* As the worker does it before it writes, so that it is believed; or nearly so. */
static void announce(uint64_t frames)
{
    if (!below(5))
        return;
    atomic_fetch_add(&shared->announced, below(8) ? size : any_number(size));
    atomic_fetch_add(&shared->results, below(8) ? frames : any_number(frames));
}

static void write_out(void)
{
    size_t done = 0;
    while (done < size && budget) {
        size_t piece = below(3) ? size - done : 1 + below(size - done);
        ssize_t wrote = write(results_fd, bytes + done, piece < budget ? piece : budget);
        if (wrote <= 0)
            _exit(1);
        done += (size_t)wrote;
        budget -= (size_t)wrote;
    }
}

static void write_frames(void)
{
    uint64_t frames = below(4) ? 1 : below(200);
    for (uint64_t i = 0; i < frames && size < SENT; i++)
        put_frame();
    announce(frames);
    write_out();
}

/* Into the buffer that is looked into, behind what is committed or over it. */
static void write_into_buffer(void)
{
    uint64_t used = atomic_load(&shared->committed) - atomic_load(&shared->base);
    size_t at = below(3) && used < MP__SHARED_BUFFER ? (size_t)used : below(MP__SHARED_BUFFER);
    put_frame();
    size_t count = size < MP__SHARED_BUFFER - at ? size : MP__SHARED_BUFFER - at;
    memcpy(shared->buffer + at, bytes, count);
    atomic_fetch_add(&shared->committed, below(4) ? count : any_number(count));
}

/* The epoch of `claim` only now and then: the worker then waits a second for what the parent would have sent. */
static void write_word(void)
{
    _Atomic uint64_t *words[] = {&shared->base,      &shared->committed,  &shared->announced, &shared->results,
                                 &shared->busy_ns,   &shared->heeds,      &shared->rss,       &shared->started_too,
                                 &shared->cancelled, &shared->sent,       &shared->watched,   &shared->got,
                                 &shared->claim,     &shared->letter_word};
    if (!below(sizeof words / sizeof *words + 2)) {
        atomic_store(&shared->asleep, (uint32_t)any_number(atomic_load(&shared->asleep)));
        return;
    }
    if (!below(sizeof words / sizeof *words + 1)) { /* a row that is open, where one can be, and of any size */
        uint64_t size_of_each = below(2) ? 8 : any_number(8) & 0xffff,
                 count = below(2) ? below(20) : any_number(1024) & 0xffff;
        atomic_store(&shared->row, mp__row_word(atomic_load(&shared->committed), size_of_each, count));
        return;
    }
    _Atomic uint64_t *word = words[below(sizeof words / sizeof *words)];
    uint64_t number = any_number(atomic_load(word));
    if (word == &shared->claim && below(16))
        number = (number & MP__STARTED_MASK) | (atomic_load(word) & ~MP__STARTED_MASK);
    atomic_store(word, number);
}

/* As if it had crashed: what is read when it is dead. */
static void write_crash(void)
{
    mp__crash *crash = &shared->crash;
    size_t at = below(2) ? 0 : below(sizeof crash->frames);
    for (size_t i = at; i < sizeof crash->frames && below(300); i++)
        crash->frames[i] = below(2) ? "0123456789abcdef +\n"[below(19)] : (char)chance();
    crash->address = any_number(0);
    crash->code = (int32_t)any_number(1);
    crash->has_address = (uint32_t)any_number(1);
    crash->size = (uint32_t)any_number(sizeof crash->frames);
    crash->signal = (int32_t)any_number(SIGSEGV);
}

static void do_deed(void)
{
    size = 0;
    switch (below(9)) {
    case 0:
        put_chance(below(8) ? below(64) : below(20000));
        announce(below(3));
        write_out();
        break;
    case 1:
    case 2:
    case 3: write_frames(); break;
    case 4: write_into_buffer(); break;
    case 5:
    case 6: write_word(); break;
    case 7: write_crash(); break;
    default: nap_us((long)below(400));
    }
}

static mp_status turn_hostile(uint64_t seed, mp_call *call)
{
    state = seed * 0x2545f4914f6cdd1du;
    budget = SENT;
    tally->lines[ITEMS + tally->word[TURNED]++ % TURNED_MAX].pid = (int)getpid();
    if (!take_over())
        return mp_fail(call, MP_EUSER, "it has found nothing to take over");
    for (uint64_t steps = 1 + below(STEPS); steps; steps--)
        do_deed();
    switch (below(4)) {
    case 0: _exit((int)below(3) * 63);
    case 1: kill(getpid(), SIGKILL); break;
    case 2: return mp_fail(call, (mp_status)(1 + below(2000)), "it says that it has failed");
    default: break;
    }
    return MP_OK;
}

/* ---- tasks ---- */

typedef struct order {
    uint64_t seed; /* 0: it is honest */
} order;
MP_TYPE(order, seed);

typedef struct harvest {
    int number;
    mp_bytes blob;
    mp_any any;
    MP_SPAN(int) numbers;
} harvest;
MP_TYPE(harvest, number, blob, any, numbers);

static mp_status reap(const order *in, harvest *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    mp_status status = in->seed ? turn_hostile(in->seed, call) : MP_OK;
    out->number = (int)item;
    out->blob = (mp_bytes){"honest", item % 7};
    out->any = (mp_any){"\xc0", 1};
    ledger_end(item);
    return status;
}
MP_TASK(reap, order, harvest);

/* One life's initializer is hostile: that which finds the seed first. */
static mp_status begin_hostile(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    int seed = atomic_exchange(&tally->word[SEED_OF_ONE], 0);
    return seed ? turn_hostile((uint64_t)seed, call) : MP_OK;
}
MP_TASK(begin_hostile, mp_none, mp_none);

/* ---- the oracle ---- */

/* The lives that have turned hostile, the last ones. What such a one goes on to run suffers with it, for as long as it lives: the damage
 * may come to light much later. */
static pid_t hostile_pids[4096];
static unsigned hostile_count;

static bool is_hostile(pid_t pid)
{
    bool found = false;
    for (unsigned i = 0; i < sizeof hostile_pids / sizeof *hostile_pids; i++)
        found = found || hostile_pids[i] == pid;
    return found;
}

static void note_hostile(void)
{
    for (int i = 0; i < TURNED_MAX; i++) {
        pid_t pid = atomic_exchange(&tally->lines[ITEMS + i].pid, 0);
        if (pid && !is_hostile(pid))
            hostile_pids[hostile_count++ % (sizeof hostile_pids / sizeof *hostile_pids)] = pid;
    }
}

static bool is_right(const harvest *h, size_t item)
{
    return h->number == (int)item && h->blob.size == item % 7 &&
           (!h->blob.size || !memcmp(h->blob.data, "honest", h->blob.size));
}

/* What lives at once: in the pipe; what two workers' readers hold; a frame of SENT bytes, decoded: every byte of it an mp_any, or an
 * int. An allocator keeps what was freed: as much again of arrays that grew, and all of it twice, as the caller and the I/O thread, each
 * with an arena of its own, take turns. And records of what has failed, which are kept when the pool is gone, too. */
static long most_resident_kib(void)
{
    return 2 * 2 * (4096 + SENT / 1024 * 64) * ROUNDS_SLOWER + MP__RECORDS_BYTES / 1024;
}

/* When the pool is gone that is none of that, but the records. 0 under a sanitizer, whose allocator does not say. */
static size_t in_use(void)
{
    struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

static void map_with(mp_pool *pool, uint64_t seed)
{
    static order items[ITEMS];
    static harvest out[ITEMS];
    static mp_status statuses[ITEMS];
    static mp_error errors[ITEMS];
    memset(items, 0, sizeof items);
    memset((void *)tally->lines, 0, ITEMS * sizeof *tally->lines);
    int turned = tally->word[TURNED];
    if (seed)
        items[seed * 7 % ITEMS].seed = seed;
    memset(statuses, 0xa5, sizeof statuses);
    mp_pool_map(pool, reap, items, ITEMS, out, .chunksize = 1 + (ptrdiff_t)(seed % 8), .statuses = statuses,
                .errors = errors);
    note_hostile();
    for (size_t i = 0; i < ITEMS; i++) {
        const ledger_line *line = &tally->lines[i];
        bool hostile = hostile_count && (!line->begun || is_hostile(line->pid));
        cr_assert(ne(int, statuses[i], (int)0xa5a5a5a5), "seed %" PRIu64 ": item %zu has no status", seed, i);
        cr_assert(statuses[i] == MP_OK || errors[i].message[0], "seed %" PRIu64 ": item %zu: no text", seed, i);
        cr_assert(statuses[i] != MP_END && statuses[i] != MP_ETIMEDOUT, "seed %" PRIu64 ": item %zu", seed, i);
        if (hostile)
            continue;
        cr_assert(statuses[i] == MP_OK, "seed %" PRIu64 ": item %zu was run by an honest worker, %d (told: %d): %s", seed,
                  i, line->pid, errors[i].pid, errors[i].message);
        cr_assert(is_right(&out[i], i), "seed %" PRIu64 ": item %zu", seed, i);
        /* one that was run by a hostile life, now or one of before, is run again if that denies it */
        cr_assert(le(int, line->begun, 1 + tally->word[TURNED] - turned + (hostile_count > 0)),
                  "seed %" PRIu64 ": item %zu", seed, i);
    }
    mp_free(harvest, out, ITEMS);
}

/* What it prints, or says that it has, is of no interest here. */
static int silence(int fd, int to)
{
    int saved = dup(fd);
    fflush(fd == 1 ? stdout : stderr);
    dup2(to, fd);
    close(to);
    return saved;
}

static void hostile_maps(mp_output output, uint64_t first, uint64_t rounds)
{
    mp_pool *pool;
    mp_pool_stats stats;
    cr_assert(ledger_open(ITEMS + TURNED_MAX));
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2, .output = output), MP_OK));
    map_with(pool, 0);
    long before = proc_resident_kib(getpid());
    size_t used = in_use();
    for (uint64_t seed = first; !rounds || seed < first + rounds; seed++) {
        if (!rounds && seed % 1000 == 0)
            fprintf(stderr, "seed %" PRIu64 "\n", seed);
        map_with(pool, seed);
        map_with(pool, 0);
        long more = proc_resident_kib(getpid()) - before;
        cr_assert(more < most_resident_kib(), "seed %" PRIu64 ": %ld KiB more", seed, more);
    }
    cr_assert(rounds == 0 || tally->word[TURNED] > 0);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(stats.accepted == stats.succeeded + stats.failed);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
    cr_assert(le(sz, in_use(), used + MP__RECORDS_BYTES));
    ledger_close();
}

void hostile_items(uint64_t first, uint64_t rounds)
{
    hostile_maps(MP_OUTPUT_INHERIT, first, rounds);
}

void hostile_printers(uint64_t first, uint64_t rounds)
{
    int out = silence(1, open("/dev/null", O_WRONLY | O_CLOEXEC)),
        error = silence(2, open("/dev/null", O_WRONLY | O_CLOEXEC));
    hostile_maps(MP_OUTPUT_CAPTURE, first, rounds);
    close(silence(1, out));
    close(silence(2, error));
}

void hostile_openings(uint64_t first, uint64_t rounds)
{
    cr_assert(ledger_open(ITEMS + TURNED_MAX));
    for (uint64_t seed = first; !rounds || seed < first + rounds; seed++) {
        mp_pool *pool;
        mp_error error;
        tally->word[SEED_OF_ONE] = (int)(seed & INT32_MAX);
        mp_status status =
            mp_pool_open(&pool, .processes = 2, .initializer = MP_HOOK(begin_hostile, NULL), .error = &error);
        if (status) {
            cr_assert(error.status == status && strlen(error.message) > 10, "seed %" PRIu64 ": %d, %s", seed, status,
                      error.message);
            continue;
        }
        map_with(pool, 0);
        mp_pool_free(&pool);
    }
    ledger_close();
}

uint64_t hostile_seed(void)
{
    const char *text = getenv("MP_HOSTILE_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

uint64_t hostile_rounds(uint64_t otherwise)
{
    const char *text = getenv("MP_HOSTILE_ROUNDS");
    return text ? strtoull(text, NULL, 10) : otherwise;
}
