/* Waiting for workers' results without sleeping. mp__shared (protocol.h) says what parent and worker do for each other meanwhile, and why
 * nothing is missed. Under the pool's lock; ends when somebody else wants that. */
#include "pool/clock.h"
#include "pool/process/link.h"

enum { WATCHED_MAX = 8 };

static uint32_t take_watched(mp__link *const *links, uint32_t count, mp__link *watched[WATCHED_MAX])
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count && taken < WATCHED_MAX; i++)
        if (mp__link_owes(links[i]))
            watched[taken++] = links[i];
    return taken;
}

static bool any(mp__link *const watched[], uint32_t count, bool (*has)(const mp__link *link))
{
    for (uint32_t i = 0; i < count; i++)
        if (has(watched[i]))
            return true;
    return false;
}

bool mp__links_spin(mp__link *const *links, uint32_t count, uint64_t ns, const atomic_uint *wanted)
{
    mp__link *watched[WATCHED_MAX];
    uint32_t taken = take_watched(links, count, watched);
    if (!taken)
        return false;
    for (uint32_t i = 0; i < taken; i++)
        atomic_store(&watched[i]->shared->watched, ns);
    uint64_t began = mp__now();
    while (!any(watched, taken, mp__link_has_more) && !atomic_load_explicit(wanted, memory_order_relaxed) &&
           mp__clock_spin(began, began + ns))
        ;
    bool found = false;
    for (uint32_t i = 0; i < taken; i++) {
        if (mp__link_has_in_buffer(watched[i]))
            found = true; /* it is watched until that is got */
        else
            atomic_store(&watched[i]->shared->watched, 0);
    }
    return found;
}
