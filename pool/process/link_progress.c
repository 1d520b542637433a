/* How far a worker is with what it was sent, and taking back what it has not started. Under the pool's lock; what stands in the shared
 * memory is believed by nobody who could be hurt by it. Where the system will not say what it knows of it (CPU time, /proc), it is as
 * if it had had a CPU. */
#include "pool/process/link.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LOOKS_WITHIN_NS = 1000000 }; /* of CPU time: a task that looks whether it is cancelled has done so by then */

/* The epoch comes round, and a worker in a long item must not miss a whole turn of it. A recall follows only when something was
 * sent: it stands for a RUN, an ITEM and a RESUME, all of which must have room in the outbox, the pipe and the reader there. */
_Static_assert((MP__OUTBOX_FULL + (1 << 20) + MP__FRAME_BUFFER) / (3 * 4 + sizeof(mp__run) + sizeof(uint64_t)) <
                   UINT64_MAX / MP__EPOCH_ONE,
               "recalls that can be missed");

/* How many it has started. A wild task may have made that less than it was: what has run would be given to another worker and run
 * twice. The second count is never ahead of the first. */
static uint64_t count_of(const mp__link *link, uint64_t claim)
{
    uint64_t first = claim & MP__STARTED_MASK;
    uint64_t second = atomic_load_explicit(&link->shared->started_too, memory_order_relaxed);
    return first > second || second > link->items ? first : second;
}

/* From now on it starts nothing of what it was sent: also of an input that is half on its way the rest may be anything, and its
 * owner may free it at once. */
bool mp__link_recall(mp__link *link)
{
    uint64_t epoch = (link->epoch + 1) & (UINT64_MAX / MP__EPOCH_ONE);
    link->started = UINT64_MAX;
    if (link->state != MP__LINK_OPEN || link->deaf || !mp__outbox_raw(&link->outbox, MP__RESUME, &epoch, sizeof epoch))
        return false;
    atomic_store_explicit(&link->shared->recalling, (uint16_t)epoch, memory_order_release);
    uint64_t before = atomic_fetch_add_explicit(&link->shared->claim, MP__EPOCH_ONE, memory_order_acq_rel);
    atomic_store_explicit(&link->shared->recalled, (uint16_t)epoch, memory_order_release);
    link->started = count_of(link, before);
    link->epoch = epoch;
    link->has_run = false;
    link->items = link->started;
    mp__outbox_disown(&link->outbox);
    return true;
}

/* What a wild task has written there is taken for all. */
uint64_t mp__link_started(const mp__link *link)
{
    if (!link->shared)
        return 0;
    uint64_t count = count_of(link, atomic_load_explicit(&link->shared->claim, memory_order_acquire));
    return count < link->items ? count : link->items;
}

/* All that its threads have had. False: that is not to be known. */
static bool cpu_time(pid_t pid, uint64_t *ns)
{
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
        return false;
    *ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    return true;
}

/* It is on a CPU or waits for one; or for the system, to bring in a page, say, or to move it to another CPU, which takes as long as that one
 * is wanted by others. */
static bool is_held_up(pid_t pid)
{
    char path[32], line[128] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool some = read(fd, line, sizeof line - 1) > 0;
    (void)close(fd);
    const char *name_end = some ? strrchr(line, ')') : NULL;
    return name_end && (strncmp(name_end, ") R", 3) == 0 || strncmp(name_end, ") D", 3) == 0);
}

/* From now on the item that it is at has time to look. */
static void see(mp__link *link, uint64_t ordinal)
{
    link->seen_deaf = !cpu_time(link->pid, &link->seen_cpu);
    link->seen = ordinal;
}

/* What is started after this look is not concerned: `claim` only counts up, and if a wild task has written over it, what was
 * never sent is not cancelled. */
void mp__link_cancel(mp__link *link)
{
    if (!link->shared)
        return;
    uint64_t ordinal = mp__link_started(link);
    atomic_store_explicit(&link->shared->cancelled, ordinal, memory_order_relaxed);
    if (ordinal != link->seen || !link->seen_deaf)
        see(link, ordinal);
}

static bool has_looked(const mp__link *link, uint64_t ordinal)
{
    return atomic_load_explicit(&link->shared->heeds, memory_order_relaxed) == ordinal;
}

static bool had_its_time(const mp__link *link)
{
    uint64_t cpu;
    return !cpu_time(link->pid, &cpu) || cpu - link->seen_cpu >= LOOKS_WITHIN_NS || !is_held_up(link->pid);
}

/* What a wild task has written there is at worst taken for true: then one that is late is asked to return, and has its grace.
 *
 * One that has begun its item, and then had to leave its CPU to others, has not looked either. So the first time that nothing is seen
 * its CPU time is noted, and only who has had more since, or waits for something else, does not look. That is remembered: it costs
 * system calls twice an item, and more often only of one that gets no CPU. */
mp__heed mp__link_heeds(mp__link *link)
{
    uint64_t ordinal = mp__link_started(link);
    if (!ordinal)
        return MP__HEED_NO;
    if (has_looked(link, ordinal))
        return MP__HEED_YES;
    if (ordinal > link->seen)
        see(link, ordinal);
    else if (ordinal == link->seen && !link->seen_deaf)
        link->seen_deaf = had_its_time(link);
    if (has_looked(link, ordinal)) /* it may have had its CPU between the two */
        return MP__HEED_YES;
    return ordinal == link->seen && !link->seen_deaf ? MP__HEED_UNKNOWN : MP__HEED_NO;
}

static bool can_look(const mp__link *link)
{
    return link->state == MP__LINK_OPEN && !link->distrusted && link->stage == MP__LINK_READY;
}

bool mp__link_owes(const mp__link *link)
{
    return can_look(link) && mp__link_results(link) < link->items;
}

/* One that has a single item left says what it has finished when that ends. */
bool mp__link_may_hide(const mp__link *link)
{
    return can_look(link) && mp__link_results(link) + 1 < link->items;
}

bool mp__link_has_more(const mp__link *link)
{
    return can_look(link) && atomic_load_explicit(&link->shared->committed, memory_order_acquire) > link->received;
}

bool mp__link_has_in_buffer(const mp__link *link)
{
    return mp__link_has_more(link) && atomic_load_explicit(&link->shared->base, memory_order_acquire) <= link->received;
}

void mp__link_look(mp__link *link)
{
    link->looks = MP__READS;
    link->budget = 0; /* its pipe has its turn when it is readable */
}
