/* Blocks: taking one, giving back a ring of them. Decides only which allocation can align as much as is asked for. Owns nothing;
 * any thread. */
#include "serial/block.h"
#include "serial/memory.h"

enum { OVER_ALIGN = 16 }; /* more than malloc(3) gives */

mp__block *mp__block_create(const mp__layout *layout)
{
    size_t rounded = (layout->used + layout->align - 1) & ~(layout->align - 1);
    mp__block *block =
        layout->align > OVER_ALIGN ? mp__memory.aligned_alloc(layout->align, rounded) : mp__memory.malloc(layout->used);
    if (block)
        *block = (mp__block){.next = block};
    return block;
}

void mp__block_free(mp__block *block)
{
    if (!block || block->held)
        return;
    mp__block *next = block->next;
    block->next = NULL; /* the ring is a list now, and this its end */
    for (block = next; block; block = next) {
        next = block->next;
        free(block);
    }
}
