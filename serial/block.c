/* Blocks: taking one, giving back a ring of them. Decides how they are aligned, and that large ones are of huge pages. Owns nothing;
 * any thread.
 *
 * All memory is malloc(3)'s, and a block begins where that is aligned as it should be. aligned_alloc(3) leaves what it cuts off on both
 * sides with the allocator, which then cannot put a block that is freed to use for the next of the same size: the heap would grow by
 * a block each time, in pages that are fresh each time. */
#include "serial/block.h"
#include "serial/memory.h"
#include <sys/mman.h>

enum {
    GIVEN_ALIGN = 16,    /* by malloc(3) */
    HUGE_PAGE = 2 << 20, /* of most machines; elsewhere it is a multiple of pages */
    HUGE_FROM = 2 * HUGE_PAGE
};

static mp__block *allocate(size_t size, size_t align)
{
    uint8_t *memory = mp__memory.malloc(size + (align > GIVEN_ALIGN ? align - GIVEN_ALIGN : 0));
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
    mp__block *block = allocate((size + page - 1) & ~(page - 1), page);
    if (block) /* a hint; not for the last one if little of that will be used */
        (void)madvise(block, (size + page / 2) & ~(page - 1), MADV_HUGEPAGE);
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
        free((uint8_t *)block - block->lead);
    }
}
