/* Who waits for a single item need not be told of it by a pipe: to write there, to poll and to read takes as long as the item does. He
 * sleeps on a word in the worker's shared memory, is woken by the worker itself, and takes the result out of the buffer. mp__shared
 * (protocol.h) says why nothing is missed. Everything else is heard meanwhile by whoever drives: the end of the worker too.
 *
 * The word is armed before the item goes out, for where both are on one CPU the worker may be through before we sleep. There is one
 * who sleeps so for each pool. Under the pool's lock, but for the sleep itself; so the memory that the word is in is not unmapped
 * before its end, though the link may have closed, and even have had another life. */
#include "pool/process/doze.h"
#include "pool/system.h"

/* Different each time: what was meant for one is not taken for the next. Even, and never 0. */
static uint32_t next_value(void)
{
    static atomic_uint last;
    uint32_t value = atomic_fetch_add_explicit(&last, 2, memory_order_relaxed) + 2;
    return value ? value : next_value();
}

void mp__doze_expect(mp__doze *doze, uint64_t awake_ns)
{
    doze->expects = !doze->link;
    doze->awake_ns = awake_ns;
}

void mp__doze_arm(mp__doze *doze, mp__link *link)
{
    if (!doze->expects)
        return;
    uint64_t awake_ns = doze->awake_ns;
    *doze = (mp__doze){.link = link, .shared = link->shared, .value = next_value()};
    atomic_store(&link->shared->watched, awake_ns); /* a worker that is quick finds it before we come to watch */
    atomic_store(&link->shared->asleep, doze->value);
    mp__link_expect(link, doze->value);
}

/* One to which not all has gone yet hears of room in its pipe, and has work for who drives. */
_Atomic uint32_t *mp__doze_begin(mp__doze *doze, uint32_t *value)
{
    mp__link *link = doze->link;
    uint32_t known = doze->value;
    if (!link || link->shared != doze->shared || link->waits || !mp__link_owes(link))
        return NULL;
    atomic_store(&link->shared->watched, 0);
    *value = known | MP__ASLEEP;
    atomic_compare_exchange_strong(&link->shared->asleep, &known, *value); /* or it is through already */
    doze->dozed = link->dozed = true;
    return &link->shared->asleep;
}

/* If the word is not as we have left it, the worker has said what it has, and will not say it again: also what lies behind something
 * that is still in its pipe. */
bool mp__doze_end(mp__doze *doze)
{
    mp__link *link = doze->link;
    mp__doze ended = *doze;
    *doze = (mp__doze){.link = NULL};
    if (!link)
        return false;
    if (link->shared != ended.shared) {
        if (ended.dozed)
            munmap(ended.shared, sizeof *ended.shared);
        return false;
    }
    link->dozed = false;
    atomic_store(&link->shared->watched, 0);
    uint32_t found = atomic_exchange(&link->shared->asleep, 0);
    if ((found & ~(uint32_t)MP__ASLEEP) != ended.value && mp__link_has_more(link))
        link->told = true;
    return link->told && mp__link_has_in_buffer(link);
}
