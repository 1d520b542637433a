/* Blocks: taking one, giving back a ring of them. Decides how they are aligned, that large ones are of huge pages, and that one of
 * the largest is kept when it is freed. Owns that one; any thread.
 *
 * All memory is malloc(3)'s, and a block begins where that is aligned as it should be. aligned_alloc(3) leaves what it cuts off on both
 * sides with the allocator, which then cannot put a block that is freed to use for the next of the same size: the heap would grow by
 * a block each time, in pages that are fresh each time. */
#include "serial/block.h"
#include "serial/memory.h"
#include <malloc.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* Of AddressSanitizer, where the program has it. */
extern void asan_init(void) __asm__("__asan_init") __attribute__((weak));

enum {
    GIVEN_ALIGN = 16,    /* by malloc(3) */
    HUGE_PAGE = 2 << 20, /* of most machines; elsewhere it is a multiple of pages */
    HUGE_FROM = 2 * HUGE_PAGE,
    KEPT_FROM = 32 << 20, /* mallopt(3), M_MMAP_THRESHOLD: larger ones malloc(3) never keeps */
    KEPT_MOST = 256 << 20 /* it counts as the program's own until the system takes it */
};

/* The last one that was freed. */
static mp__block *_Atomic kept;

/* --- what is kept ------------------------------------------------------------------------------------------------------------
 *
 * Data that come and go by the hundred megabytes would be put into fresh pages each time, and the system clears those first: a third of
 * what it takes to send 64 MiB. So one block stays when it is freed, and the next of about its size has it. The system may take its
 * pages whenever it wants them (MADV_FREE), all but the first; of a limited address space it would take up what others need, and where our
 * own memory runs out it is given back. */

static void give_back(mp__block *block)
{
    free((uint8_t *)block - block->lead);
}

/* From the block's own start. */
static size_t room_of(mp__block *block)
{
    return malloc_usable_size((uint8_t *)block - block->lead) - block->lead;
}

static bool is_limited(__rlimit_resource_t what)
{
    struct rlimit limit;
    return getrlimit(what, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

/* Not where AddressSanitizer is to find who uses what was freed. */
static bool may_keep(void)
{
    return !asan_init && !is_limited(RLIMIT_AS) && !is_limited(RLIMIT_DATA);
}

static bool keep(mp__block *block)
{
    uint8_t *rest = (uint8_t *)block + HUGE_PAGE;
    size_t size = room_of(block) - HUGE_PAGE;
    if (!may_keep() || madvise(rest, size & ~((size_t)HUGE_PAGE - 1), MADV_FREE) != 0)
        return false;
    mp__block *other = atomic_exchange(&kept, block);
    if (other)
        give_back(other);
    return true;
}

/* NULL: none is kept, or one of another size, which then is not what is needed these days. */
static mp__block *take_kept(size_t size)
{
    mp__block *block = atomic_exchange(&kept, NULL);
    size_t room = block ? room_of(block) : 0;
    if (block && (room < size || room / 2 > size)) {
        give_back(block);
        return NULL;
    }
    return block;
}

bool mp__block_let_go(void)
{
    mp__block *block = atomic_exchange(&kept, NULL);
    if (block)
        give_back(block);
    return block;
}

/* --- taking and giving back --------------------------------------------------------------------------------------------------- */

static mp__block *allocate(size_t size, size_t align)
{
    size_t whole = size + (align > GIVEN_ALIGN ? align - GIVEN_ALIGN : 0);
    uint8_t *memory = mp__memory.malloc(whole);
    if (!memory && mp__block_let_go())
        memory = mp__memory.malloc(whole);
    if (!memory)
        return NULL;
    uint32_t lead = (uint32_t)(-(uintptr_t)memory & (align - 1));
    mp__block *block = (mp__block *)(void *)(memory + lead);
    *block = (mp__block){.next = block, .lead = lead};
    return block;
}

/* What is that large is fresh from the system each time, and to have its pages one by one costs as much as to fill them. Huge pages,
 * too, are there only when they are touched: a length that is a lie costs one at most. */
static mp__block *allocate_huge(size_t size)
{
    const size_t page = HUGE_PAGE;
    mp__block *block = size < KEPT_FROM ? NULL : take_kept(size);
    if (block) {
        block->next = block;
        block->held = false;
        return block;
    }
    block = allocate((size + page - 1) & ~(page - 1), page);
    if (block) { /* a hint; not for the last one if little of that will be used */
        (void)madvise(block, (size + page / 2) & ~(page - 1), MADV_HUGEPAGE);
        block->keeps = size >= KEPT_FROM && size <= KEPT_MOST;
    }
    return block;
}

mp__block *mp__block_allocate(size_t size, size_t align)
{
    return size >= HUGE_FROM ? allocate_huge(size) : allocate(size, align);
}

mp__block *mp__block_create(const mp__layout *layout)
{
    return mp__block_allocate(layout->used, layout->align);
}

void mp__block_free(mp__block *block)
{
    if (!block || block->held)
        return;
    mp__block *next = block->next;
    block->next = NULL; /* the ring is a list now, and this its end */
    for (block = next; block; block = next) {
        next = block->next;
        if (!block->keeps || !keep(block))
            give_back(block);
    }
}
